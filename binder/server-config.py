"""The notebook server leads to the pages of Prometheus, Grafana, ServiceGraph and Zipkin: to what listens on loopback.

Which addresses a lab has depends on what else runs on the machine, so that it is no list.
"""

from ipaddress import ip_address


def _loopback(handler, host):
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


c.ServerProxy.host_allowlist = _loopback  # noqa: F821 - Jupyter's configuration object
