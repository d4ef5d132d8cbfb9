"""Mixer: what the sidecars report, turned into metrics and an access log as its configuration says.

The real one is asked by every sidecar before and after each request. Here the sidecars stream Envoy's access
log to it, batched, which costs a tenth, and everything behind is as in 0.4: attributes, rules, instances and
handlers are the objects stored in the cluster.
"""
