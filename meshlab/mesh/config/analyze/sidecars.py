"""Checks about sidecars: pods that lack one, and callers that are told to come otherwise than a port takes them."""

from __future__ import annotations

from collections.abc import Iterator

from meshlab.mesh.config.analyze.messages import Message, message
from meshlab.mesh.config.analyze.scene import Scene
from meshlab.mesh.config.security import PeerMode, peer_mode
from meshlab.mesh.config.sidecar import POLICY_ANNOTATION, PROXY

__all__ = ["conflicts", "missing"]

#: What a DestinationRule says → the mode of a port that refuses it.
REFUSED = {"DISABLE": PeerMode.STRICT, "SIMPLE": PeerMode.STRICT, "MUTUAL": PeerMode.STRICT,
           "ISTIO_MUTUAL": PeerMode.DISABLE}  # fmt: skip


def missing(scene: Scene) -> Iterator[Message]:
    """Pods that were there before their namespace was labelled: the webhook sees what is created."""
    for each in scene.workloads:
        obj = each.subject.obj
        if each.subject.kind != "Pod" or scene.namespaces.get(each.namespace, {}).get("istio-injection") != "enabled":
            continue
        spec, meta = each.subject.spec, obj.get("metadata") or {}
        asked = each.labels.get(POLICY_ANNOTATION) or (meta.get("annotations") or {}).get(POLICY_ANNOTATION) or "true"
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        names = {container.get("name") for container in containers}
        if asked == "true" and PROXY not in names and not spec.get("hostNetwork") and not meta.get("deletionTimestamp"):
            text = (
                f"The pod {each.namespace}/{each.subject.name} is missing the Istio proxy. This can often be resolved "
                "by restarting or redeploying the workload."
            )
            yield message("IST0103", each.subject, text)


def conflicts(scene: Scene) -> Iterator[Message]:
    """Destination rules whose callers come as the pods behind the host will not take them."""
    policies = [each.value for each in scene.objects("PeerAuthentication")]
    for rule in scene.objects("DestinationRule"):
        said = ((rule.stored.spec.get("trafficPolicy") or {}).get("tls") or {}).get("mode") or ""
        host, refused = rule.value.host, REFUSED.get(said)
        pods = scene.pods(host) if refused is not None else []
        modes = {peer_mode(policies, each.namespace, each.labels, 0, default=PeerMode.UNSET) for each in pods}
        if refused in modes:
            text = (
                f"A DestinationRule and PeerAuthentication are in conflict with regards to mTLS for host {host}. The "
                f"DestinationRule says {said} but the pods behind it are told {refused.value if refused else ''}."
            )
            yield message("IST0113", rule.subject, text, "spec", "trafficPolicy", "tls", "mode")
