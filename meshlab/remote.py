"""Commands inside containers, through the API server: `kubectl exec` for programs.

istiod and the sidecars say what they know on ports that answer to their own pod only; their images bring a small
client (`pilot-discovery request`, `pilot-agent request`) that is run there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .access import Access
from .errors import LabError

__all__ = ["Ran", "execute"]


@dataclass(frozen=True)
class Ran:
    """How a command ended: its outputs, and its exit status."""

    stdout: str
    stderr: str
    status: int


def execute(
    access: Access, namespace: str, pod: str, container: str, command: Sequence[str], *, timeout: float = 30.0
) -> Ran:
    """Runs a command in a container and waits for it. Raises `LabError` if it could not be run or did not end."""
    from kubernetes.client import CoreV1Api
    from kubernetes.client.rest import ApiException
    from kubernetes.stream import stream
    from websocket import WebSocketException

    what = f"{' '.join(command[:3])} in {namespace}/{pod} ({container})"
    # A client of its own: `stream` replaces the request method of the one that it is given.
    api = CoreV1Api(access.another())
    try:
        channel = stream(
            api.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=container,
            command=list(command),
            stderr=True,
            stdin=False,
            stdout=True,
            tty=False,
            _preload_content=False,
            _request_timeout=timeout,
        )
        channel.run_forever(timeout=timeout)
        if channel.is_open():
            channel.close()
            raise LabError(f"{what} did not end within {timeout:g} s")
        out, err = channel.read_stdout(), channel.read_stderr()
        return Ran(out, err, int(channel.returncode or 0))
    except (ApiException, WebSocketException, OSError) as error:
        raise LabError(f"{what} could not be run", why=" ".join(str(error).split())[:300]) from error
    finally:
        api.api_client.close()
