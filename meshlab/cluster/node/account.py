"""What a program in a pod finds of its service account: a token, the cluster's certificate and the namespace as files.

On a cluster an admission plug-in writes the volume and its mounts into every pod. Here they are the node's: a pod is
stored as its author wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.cluster.controllers.serviceaccount import ROOT_CA

__all__ = ["PLACE", "VOLUME", "account_volumes", "mounts_of"]

Object = Mapping[str, Any]
#: Where client libraries look, and how the volume is called; no author's volume has a name like it.
PLACE, VOLUME = "/var/run/secrets/kubernetes.io/serviceaccount", "kube-api-access.meshlab.io"
SOURCES = (
    {"serviceAccountToken": {"path": "token"}},
    # It is there a moment after its namespace: a pod that is quicker gets it as soon as it comes.
    {"configMap": {"name": ROOT_CA, "optional": True, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
)


def account_volumes(pod: Object, account: Object | None) -> list[Object]:
    """The volume, unless the pod, or else its account, says `automountServiceAccountToken: false`."""
    said = pod["spec"].get("automountServiceAccountToken")
    if said is None:
        said = (account or {}).get("automountServiceAccountToken")
    return [] if said is False else [{"name": VOLUME, "projected": {"sources": list(SOURCES)}}]


def mounts_of(container: Object) -> Sequence[Object]:
    """What a container mounts: its account's files as well, where it has nothing of its own there."""
    own = container.get("volumeMounts") or []
    if any(str(entry["mountPath"]).rstrip("/") == PLACE for entry in own):
        return own
    return [*own, {"name": VOLUME, "mountPath": PLACE, "readOnly": True}]
