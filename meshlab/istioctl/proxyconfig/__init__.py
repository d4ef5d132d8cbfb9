"""`istioctl proxy-config` and `proxy-status`: the columns, orders and filters of istioctl 1.28.

Clusters of 0.4 have other names than today's; what a column asks for is taken from those (see `ClusterName`).
"""
