"""A cluster of a kubeconfig as an engine: Kubernetes and Istio are the real ones, and others may live there, too.

contexts, guard     which cluster is meant, and whether it may be touched at all
found, preflight    what is there, before anything is changed
owned               what is ours: labels, and never an object of somebody else
istio, addons, demo what is installed; rules: v1alpha2 in today's kinds; writer: when they are in force
cluster             all of it as one `Engine`
"""
