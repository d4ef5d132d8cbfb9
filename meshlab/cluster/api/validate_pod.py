"""Rules of pods and pod templates, in the order in which a real server says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, go_struct, invalid, required
from meshlab.cluster.api.validate_container import PROBES, choice, common, hooks_and_probes, host_ports
from meshlab.cluster.api.validate_meta import annotation_keys, labels
from meshlab.cluster.api.validate_placement import affinity, spread, tolerations
from meshlab.cluster.api.validate_security import operating_system, pod_security
from meshlab.cluster.api.validate_volumes import descending, volumes

__all__ = ["pod", "pod_spec", "template"]

Object = Mapping[str, Any]
RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
NAMESERVERS, SEARCHES, SEARCH_LENGTH = 3, 32, 2048
MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP = ("seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/")
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def template(path: str, value: Object) -> list[Cause]:
    """A PodTemplateSpec at `path`."""
    meta, spec = value.get("metadata") or {}, value.get("spec") or {}
    annotations = meta.get("annotations") or {}
    causes = [
        *labels(f"{path}.labels", meta.get("labels") or {}),
        *annotation_keys(f"{path}.annotations", annotations),
        *_annotations(f"{path}.annotations", annotations, spec),
        *pod_spec(f"{path}.spec", spec),
    ]
    if spec.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        causes.append(forbidden(f"{path}.spec.ephemeralContainers", why))
    return causes


def pod(obj: Object, *, new: bool) -> list[Cause]:
    """A Pod, beside its metadata; a `new` one has no containers that joined it."""
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    causes = _annotations("metadata.annotations", annotations, spec) + pod_spec("spec", spec, of_pod=True)
    for kind in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(kind) or ()):
            image = container.get("image") or ""
            if image != image.strip():
                why = "must not have leading or trailing whitespace"
                causes.append(invalid(f"spec.{kind}[{i}].image", image, why))
    if new and spec.get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if new and spec.get("nodeName") and spec.get("schedulingGates"):
        causes.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes


def _annotations(path: str, annotations: Object, spec: Object) -> list[Cause]:
    """Annotations that mean something for pods."""
    causes: list[Cause] = []
    if MIRROR in annotations and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        causes.append(invalid(f"{path}[{MIRROR}]", annotations[MIRROR], why))
    for key, value in sorted(annotations.items()):
        if key == SECCOMP[0] or key.startswith(SECCOMP[1]):
            if value.startswith("localhost/"):
                causes += descending(f"{path}.{key}", value.removeprefix("localhost/"))
            elif value not in ("runtime/default", "docker/default", "unconfined"):
                causes.append(invalid(f"{path}.{key}", value, "must be a valid seccomp profile"))
        if key.startswith(APPARMOR):
            name = key.removeprefix(APPARMOR)
            kinds = ("initContainers", "containers", "ephemeralContainers")
            if not any(each.get("name") == name for kind in kinds for each in spec.get(kind) or ()):
                causes.append(invalid(f"{path}[{key}]", name, "container not found"))
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                causes.append(invalid(f"{path}[{key}]", value, f'invalid AppArmor profile name: "{value}"'))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not (formats.matches("-?(0|[1-9][0-9]*)", cost) and -(2**31) <= int(cost) < 2**31):
        causes.append(invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    return causes


def pod_spec(path: str, spec: Object, *, of_pod: bool = False) -> list[Cause]:
    """A PodSpec at `path`; `of_pod` says that it is no template's."""
    right, causes = volumes(f"{path}.volumes", spec.get("volumes") or ())
    causes += _claims(f"{path}.resourceClaims", spec.get("resourceClaims") or ())
    causes += _containers(path, spec, right)
    if spec.get("hostNetwork"):
        causes += _host_network(f"{path}.containers", spec.get("containers") or (), of_pod=of_pod)
    causes += choice(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    causes += choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES)
    causes += labels(f"{path}.nodeSelector", spec.get("nodeSelector") or {})
    causes += pod_security(path, spec)
    causes += affinity(f"{path}.affinity", spec.get("affinity") or {})
    causes += _dns(f"{path}.dnsConfig", spec.get("dnsConfig"), spec.get("dnsPolicy"))
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        here = f"{path}.readinessGates[{i}].conditionType"
        causes += [invalid(here, kind, why) for why in formats.label_key(kind)]
    causes += _gates(f"{path}.schedulingGates", spec.get("schedulingGates") or ())
    causes += spread(f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints") or ())
    if spec.get("hostUsers") is False:
        why = "when `pod.Spec.HostUsers` is false"
        causes += [forbidden(f"{path}.{shown}", why)
                   for key, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
                   if spec.get(key)]  # fmt: skip
    for key in ("serviceAccountName", "nodeName"):
        if name := spec.get(key):
            causes += [invalid(f"{path}.{key}", name, why) for why in formats.dns_subdomain(name)]
    if (deadline := spec.get("activeDeadlineSeconds")) is not None:
        causes += [invalid(f"{path}.activeDeadlineSeconds", deadline, why)
                   for why in formats.in_range(deadline, 1, 2**31 - 1)]  # fmt: skip
    for key in ("hostname", "subdomain"):
        if name := spec.get(key):
            causes += [invalid(f"{path}.{key}", name, why) for why in formats.dns_label(name)]
    causes += tolerations(f"{path}.tolerations", spec.get("tolerations") or ())
    causes += _host_aliases(f"{path}.hostAliases", spec.get("hostAliases") or ())
    for key in ("priorityClassName", "runtimeClassName"):
        if name := spec.get(key):
            causes += [invalid(f"{path}.{key}", name, why) for why in formats.dns_subdomain(name)]
    preemption = spec.get("preemptionPolicy")
    if preemption is not None:
        causes += choice(f"{path}.preemptionPolicy", preemption, ("PreemptLowerPriority", "Never"))
    return causes + operating_system(path, spec)


def _containers(path: str, spec: Object, right: Mapping[str, Object]) -> list[Cause]:
    grace = spec.get("terminationGracePeriodSeconds")
    containers = spec.get("containers") or ()
    causes: list[Cause] = [] if containers else [required(f"{path}.containers")]
    names: set[str] = set()
    for i, container in enumerate(containers):
        here = f"{path}.containers[{i}]"
        causes += common(here, container, right, spec) + _unique(here, container, names)
        causes += hooks_and_probes(here, container, grace)
        if policy := container.get("restartPolicy"):
            causes += choice(f"{here}.restartPolicy", policy, ("Always", "Never", "OnFailure"))
    causes += host_ports(f"{path}.containers", containers)
    for i, container in enumerate(spec.get("initContainers") or ()):
        here = f"{path}.initContainers[{i}]"
        causes += common(here, container, right, spec)
        if policy := container.get("restartPolicy"):
            causes += choice(f"{here}.restartPolicy", policy, ("Always", "Never", "OnFailure"))
        causes += _unique(here, container, names)
        causes += host_ports(f"{path}.initContainers", [container])
        if container.get("restartPolicy") == "Always":
            causes += hooks_and_probes(here, container, grace)
        else:
            why = "may not be set for init containers without restartPolicy=Always"
            refused = [key for key in ("lifecycle", *PROBES) if container.get(key) is not None]
            causes += [forbidden(f"{here}.{key}", why) for key in refused]
    return causes


def _unique(path: str, container: Object, names: set[str]) -> list[Cause]:
    name = container.get("name") or ""
    if name in names:
        return [duplicate(f"{path}.name", name)]
    names.add(name)
    return []


def _claims(path: str, claims: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, claim in enumerate(claims):
        here, name = f"{path}[{i}]", claim.get("name") or ""
        if not name:
            causes.append(required(f"{here}.name"))
        elif name in names:
            causes.append(duplicate(f"{here}.name", name))
        else:
            causes += [invalid(f"{here}.name", name, why) for why in formats.dns_label(name)]
        names.add(name)
        given = [key for key in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(key) is not None]
        shown = go_struct(claim, "Name", "ResourceClaimName", "ResourceClaimTemplateName", Name="")
        if len(given) == 2:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            causes.append(invalid(here, shown, why))
        if not given:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            causes.append(invalid(here, shown, why))
        causes += [invalid(f"{here}.{key}", claim[key], w) for key in given for w in formats.dns_subdomain(claim[key])]
    return causes


def _host_network(path: str, containers: Sequence[Object], *, of_pod: bool) -> list[Cause]:
    why = "must match `containerPort` when `hostNetwork` is true"
    causes: list[Cause] = []
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort") or 0
            if (of_pod or number) and number != (port.get("containerPort") or 0):
                causes.append(invalid(f"{path}[{i}].ports[{j}].hostPort", number, why))
    return causes


def _dns(path: str, config: Object | None, policy: str | None) -> list[Cause]:
    if policy == "None":
        if config is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{path}.nameservers", why)]
    causes: list[Cause] = []
    config = config or {}
    servers, searches = list(config.get("nameservers") or ()), list(config.get("searches") or ())
    if len(servers) > NAMESERVERS:
        causes.append(invalid(f"{path}.nameservers", servers, f"must not have more than {NAMESERVERS} nameservers"))
    for i, server in enumerate(servers):
        causes += [invalid(f"{path}.nameservers[{i}]", server, why) for why in formats.ip(server)]
    if len(searches) > SEARCHES:
        causes.append(invalid(f"{path}.searches", searches, f"must not have more than {SEARCHES} search paths"))
    if len(" ".join(searches)) > SEARCH_LENGTH:
        why = f"must not have more than {SEARCH_LENGTH} characters (including spaces) in the search list"
        causes.append(invalid(f"{path}.searches", searches, why))
    for i, search in enumerate(searches):
        if search != ".":
            domain = search.removesuffix(".")
            causes += [invalid(f"{path}.searches[{i}]", domain, why) for why in formats.search_domain(domain)]
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            causes.append(required(f"{path}.options[{i}]", "must not be empty"))
    return causes


def _gates(path: str, gates: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name") or ""
        causes += [invalid(f"{path}[{i}]", name, why) for why in formats.label_key(name)]
        if name in names:
            causes.append(duplicate(f"{path}[{i}]", name))
        names.add(name)
    return causes


def _host_aliases(path: str, aliases: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    for i, alias in enumerate(aliases):
        causes += [invalid(f"{path}[{i}].ip", alias.get("ip"), why) for why in formats.ip(alias.get("ip") or "")]
        for j, name in enumerate(alias.get("hostnames") or ()):
            causes += [invalid(f"{path}[{i}].hostnames[{j}]", name, why) for why in formats.dns_subdomain(name)]
    return causes
