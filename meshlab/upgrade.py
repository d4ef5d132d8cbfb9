"""WebSockets to the API server: what exec and port-forward are carried by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import LabError, Rejected

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from websocket import WebSocket

__all__ = ["Upgrade", "open_websocket", "proxy_of", "tls_of"]

#: Opens a WebSocket at a path of one API server, `(path, subprotocols, timeout in seconds)`; errors as
#: `open_websocket` has them.
Upgrade = Callable[[str, Sequence[str], float], "WebSocket"]


def open_websocket(
    server: str,
    path: str,
    protocols: Sequence[str],
    timeout: float,
    *,
    headers: Mapping[str, str],
    tls: Mapping[str, Any],
    proxy: tuple[str, int] | None = None,
) -> WebSocket:
    """`tls` as websocket-client's `sslopt`, `proxy` host and port. No word for `timeout` seconds is an error.

    Raises `Rejected` if the server refuses, `LabError` if it is not reached.
    """
    from websocket import WebSocketBadStatusException, WebSocketException, create_connection

    way: dict[str, Any] = {"http_no_proxy": ["*"]}
    if proxy is not None:
        way = {"http_proxy_host": proxy[0], "http_proxy_port": proxy[1], "proxy_type": "http", "http_no_proxy": [""]}
    try:
        return create_connection(
            f"ws{server.removeprefix('http')}{path}",
            timeout=timeout,
            header=dict(headers),
            subprotocols=list(protocols),
            suppress_origin=True,
            sslopt=dict(tls),
            **way,
        )
    except WebSocketBadStatusException as error:
        raise Rejected.answer(error.status_code, error.resp_body or b"") from error
    except (OSError, WebSocketException) as error:
        raise LabError(f"the API server at {server} does not answer", why=str(error), then="meshlab status") from error


def proxy_of(way: Configuration) -> tuple[str, int] | None:
    """Host and port of the proxy on the way to an API server, as the official client finds it, or None."""
    from urllib.parse import urlsplit

    from requests.utils import should_bypass_proxies

    if not way.proxy or should_bypass_proxies(way.host, no_proxy=way.no_proxy or ""):
        return None
    found = urlsplit(way.proxy)
    return found.hostname or "", found.port or 80


def tls_of(way: Configuration) -> dict[str, Any]:
    """How the official client knows an API server, and is known there, as `sslopt`."""
    import ssl

    found: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if way.verify_ssl else ssl.CERT_NONE}
    if not way.verify_ssl:
        found["check_hostname"] = False
    pairs = {
        "ca_certs": way.ssl_ca_cert,
        "certfile": way.cert_file,
        "keyfile": way.key_file,
        "server_hostname": way.tls_server_name,
    }
    return found | {key: value for key, value in pairs.items() if value}
