"""Who a pod is to its peers, in today's words: workload, namespace, app and version.

Today's sidecars tell each other, in a header that the receiving sidecar takes off again, so that both ends of a
request count it with both names. The header is a protobuf `Value` in base64; it is written by hand here because
a sidecar's start loads nothing that it could do without.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

__all__ = ["HEADER", "STATS_PORT", "environment", "metadata", "packed", "workload_name"]

HEADER = "x-envoy-peer-metadata"
#: Where a sidecar shows its metrics to Prometheus, as today's do.
STATS_PORT = 15090
#: Key of the metadata → variable of Envoy's environment.
_VARIABLES = {
    "workload": "MESHLAB_WORKLOAD", "namespace": "MESHLAB_NAMESPACE", "app": "MESHLAB_APP",
    "version": "MESHLAB_VERSION",
}
_RANDOM = re.compile(r"-[a-z0-9]{5}$")


def workload_name(pod: str, labels: Mapping[str, str]) -> str:
    """The Deployment of a pod by its name.

    >>> workload_name("svcb-v0.2-5b66c94d7f-x2vqk", {"pod-template-hash": "5b66c94d7f"}), workload_name("one", {})
    ('svcb-v0.2', 'one')
    """
    name, mark, _ = pod.partition(f"-{labels.get('pod-template-hash') or ' '}-")
    return name if mark else _RANDOM.sub("", pod)


def metadata(pod: str, namespace: str, labels: Mapping[str, str]) -> dict[str, str]:
    """What a pod tells of itself; "unknown" where its labels do not say."""
    workload = workload_name(pod, labels)
    return {
        "workload": workload, "namespace": namespace,
        "app": labels.get("app") or "unknown", "version": labels.get("version") or "unknown",
    }


def environment(found: Mapping[str, str]) -> dict[str, str]:
    """The metadata as variables, which the log formats that Pilot sends refer to."""
    return {**{_VARIABLES[key]: value for key, value in found.items()}, "MESHLAB_PEER": packed(found)}


def packed(found: Mapping[str, str]) -> str:
    """`Value{struct_value: {fields: {key: Value{string_value}}}}` in base64."""
    entries = b"".join(
        _field(1, _field(1, key.encode()) + _field(2, _field(3, value.encode()))) for key, value in found.items()
    )
    return base64.b64encode(_field(5, entries)).decode()


def _field(number: int, data: bytes) -> bytes:
    size, length = bytearray(), len(data)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes([number << 3 | 2]) + bytes(size) + data
