"""The notebook server leads to the pages of Prometheus, Grafana, ServiceGraph and Zipkin: to what listens on loopback.

Which addresses a lab has depends on what else runs on the machine, so that it is no list. And it ends kernels that
nobody uses.
"""

from ipaddress import ip_address


def _loopback(handler, host):
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


c.ServerProxy.host_allowlist = _loopback  # noqa: F821 - Jupyter's configuration object
# A kernel takes 85 MB: who goes from lesson to lesson would fill 1 GB. The lab outlives its kernels.
c.MappingKernelManager.cull_idle_timeout = 20 * 60  # noqa: F821 - seconds
c.MappingKernelManager.cull_interval = 60  # noqa: F821 - seconds
c.MappingKernelManager.cull_connected = True  # noqa: F821 - also that of a page that is still open
