"""Capture by iptables: every pod in a network namespace of its own, any program, addresses of the tutorial.

linux, netlink      system calls; interfaces, addresses and routes
rules               iptables rules as text: Istio's in a pod, kube-proxy's for services (pure)
firewall            puts such text in force
lab                 the lab's own namespaces: made once, held by a process, entered by the daemon
pods                the namespaces of pods, and how programs are started in them
names, resolver     the cluster's DNS: what a question's answer is (pure), and who listens for questions
"""
