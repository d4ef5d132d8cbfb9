"""Rules of one container: what all kinds of containers have in common, its probes and hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, invalid, not_found, required, unsupported
from meshlab.cluster.api.quantity import canonical, parse
from meshlab.cluster.api.validate_environment import sources, variables
from meshlab.cluster.api.validate_meta import non_negative
from meshlab.cluster.api.validate_security import container_security
from meshlab.cluster.api.validate_volumes import descending

__all__ = ["PROBES", "PROTOCOLS", "choice", "common", "hooks_and_probes", "host_ports", "port_or_name"]

Object = Mapping[str, Any]
PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
#: Resources without a domain that containers may ask for, and those that only quotas know.
OF_CONTAINERS = ("cpu", "memory", "ephemeral-storage")
OF_QUOTAS = (
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "services.loadbalancers", "services.nodeports",
)  # fmt: skip


def choice(path: str, value: Any, supported: Iterable[str]) -> list[Cause]:
    """One of a few words, which must be there."""
    if not value:
        return [required(path)]
    return [] if value in supported else [unsupported(path, value, supported)]


def common(path: str, container: Object, volumes: Mapping[str, Object], spec: Object) -> list[Cause]:
    """What all containers have, at `path` of the pod with this `spec`; `volumes` are the right ones."""
    name = container.get("name") or ""
    causes = [invalid(f"{path}.name", name, w) for w in formats.dns_label(name)] if name else [required(f"{path}.name")]
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    policy = container.get("terminationMessagePolicy")
    causes += choice(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError"))
    causes += _ports(f"{path}.ports", container.get("ports") or ())
    causes += variables(f"{path}.env", container.get("env") or ())
    causes += sources(f"{path}.envFrom", container.get("envFrom") or ())
    causes += _mounts(f"{path}.volumeMounts", container, volumes)
    causes += _devices(f"{path}.volumeDevices", container, volumes)
    causes += choice(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES)
    claims = [claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")]
    causes += _resources(f"{path}.resources", container.get("resources") or {}, claims)
    causes += _resize(f"{path}.resizePolicy", container.get("resizePolicy") or (), spec.get("restartPolicy"))
    if (context := container.get("securityContext")) is not None:
        host_users = spec.get("hostUsers") is not False
        causes += container_security(f"{path}.securityContext", context, host_users=host_users)
    return causes


def hooks_and_probes(path: str, container: Object, grace: int | None) -> list[Cause]:
    """What containers that stay have; `grace` in seconds is what the pod takes to end."""
    causes: list[Cause] = []
    for hook in ("postStart", "preStop"):
        if (handler := (container.get("lifecycle") or {}).get(hook)) is not None:
            causes += _handler(f"{path}.lifecycle.{hook}", handler, grace)
    for key in PROBES:
        if (probe := container.get(key)) is not None:
            causes += _probe(f"{path}.{key}", probe, grace, readiness=key == "readinessProbe")
    return causes


def host_ports(path: str, containers: Sequence[Object]) -> list[Cause]:
    """That no two ports of these containers want the same port of the node."""
    causes: list[Cause] = []
    taken: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            if number := port.get("hostPort"):
                key = f"{port.get('protocol', '')}/{port.get('hostIP') or ''}/{number}"
                if key in taken:
                    causes.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", key))
                taken.add(key)
    return causes


def port_or_name(path: str, value: Any) -> list[Cause]:
    """A port's number, or the name of a container's port."""
    reasons = formats.port(value) if isinstance(value, int) else formats.port_name(str(value))
    return [invalid(path, value, why) for why in reasons]


def _ports(path: str, ports: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, item in enumerate(ports):
        here, name = f"{path}[{i}]", item.get("name") or ""
        if name:
            if reasons := formats.port_name(name):
                causes += [invalid(f"{here}.name", name, why) for why in reasons]
            elif name in names:
                causes.append(duplicate(f"{here}.name", name))
            names.add(name)
        number = item.get("containerPort") or 0
        if number == 0:
            causes.append(required(f"{here}.containerPort"))
        else:
            causes += [invalid(f"{here}.containerPort", number, why) for why in formats.port(number)]
        if number := item.get("hostPort"):
            causes += [invalid(f"{here}.hostPort", number, why) for why in formats.port(number)]
        causes += choice(f"{here}.protocol", item.get("protocol"), PROTOCOLS)
    return causes


def _mounts(path: str, container: Object, volumes: Mapping[str, Object]) -> list[Cause]:
    """Where a path below a volume is wrong, a real server names the list, not the mount."""
    causes: list[Cause] = []
    places: set[str] = set()
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        here, name, place = f"{path}[{i}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            causes.append(required(f"{here}.name"))
        if name not in volumes:
            causes.append(not_found(f"{here}.name", name))
        if not place:
            causes.append(required(f"{here}.mountPath"))
        if place in places:
            causes.append(invalid(f"{here}.mountPath", place, "must be unique"))
        places.add(place)
        if name in devices:
            causes.append(invalid(f"{here}.name", name, "must not already exist in volumeDevices"))
        if place in devices.values():
            causes.append(invalid(f"{here}.mountPath", place, "must not already exist as a path in volumeDevices"))
        sub, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
        if "image" in volumes.get(name, {}):
            why = "not allowed in image volume sources"
            causes += [invalid(f"{here}.{k}", mount[k], why) for k in ("subPath", "subPathExpr") if mount.get(k)]
        causes += descending(f"{path}.subPath", sub)
        if sub and expression:
            why = "subPathExpr and subPath are mutually exclusive"
            causes.append(invalid(f"{here}.subPathExpr", expression, why))
        causes += descending(f"{path}.subPathExpr", expression)
        spreading = mount.get("mountPropagation")
        if spreading is not None and spreading not in PROPAGATIONS:
            causes.append(unsupported(f"{path}.mountPropagation", spreading, PROPAGATIONS))
        if spreading == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            why = "Bidirectional mount propagation is available only to privileged containers"
            causes.append(forbidden(f"{path}.mountPropagation", why))
    return causes


def _devices(path: str, container: Object, volumes: Mapping[str, Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    places: set[str] = set()
    for i, device in enumerate(container.get("volumeDevices") or ()):
        here, name, place = f"{path}[{i}]", device.get("name") or "", device.get("devicePath") or ""
        if not name:
            causes.append(required(f"{here}.name"))
        elif name in names:
            causes.append(invalid(f"{here}.name", name, "must be unique"))
        if name not in volumes:
            causes.append(not_found(f"{here}.name", name))
        elif not {"persistentVolumeClaim", "ephemeral"} & set(volumes[name]):
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            causes.append(invalid(f"{here}.name", name, why))
        if not place:
            causes.append(required(f"{here}.devicePath"))
        elif place in places:
            causes.append(invalid(f"{here}.devicePath", place, "must be unique"))
        if ".." in place.split("/"):
            causes.append(invalid(f"{here}.devicePath", place, "can not contain backsteps ('..')"))
        names.add(name)
        places.add(place)
    return causes


def _resource_name(path: str, name: str) -> list[Cause]:
    if reasons := formats.label_key(name):
        return [invalid(path, name, why) for why in reasons]
    if "/" in name or name in OF_CONTAINERS or name.startswith("hugepages-"):
        return []
    causes = [] if name in OF_QUOTAS else [invalid(path, name, "must be a standard resource type or fully qualified")]
    return [*causes, invalid(path, name, "must be a standard resource for containers")]


def _resources(path: str, resources: Object, claims: Collection[str]) -> list[Cause]:
    causes: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, value in sorted(values.items()):
            here, (amount, _) = f"{path}.{kind}[{name}]", parse(value)
            causes += _resource_name(here, name)
            if amount < 0:
                causes.append(invalid(here, canonical(value), "must be greater than or equal to 0"))
            if "/" in name and "kubernetes.io/" not in name and amount.denominator != 1:
                causes.append(invalid(here, canonical(value), "must be an integer"))
            if kind == "requests":
                causes += _below(path, name, value, limits.get(name))
    if any(name.startswith("hugepages-") for name in (*limits, *requests)) and not any(
        name in ("cpu", "memory") for name in (*limits, *requests)
    ):
        causes.append(forbidden(path, "HugePages require cpu or memory"))
    seen: set[str] = set()
    for i, claim in enumerate(resources.get("claims") or ()):
        here, name = f"{path}.claims[{i}]", claim.get("name") or ""
        if not name:
            causes.append(required(here))
        elif name in seen:
            causes.append(duplicate(here, name))
        seen.add(name)
        if name and name not in claims:
            known = f": {', '.join(sorted(claims))}" if claims else " which is empty"
            causes.append(not_found(here, name, f"must be one of the names in pod.spec.resourceClaims{known}"))
    return causes


def _below(path: str, name: str, value: str, limit: str | None) -> list[Cause]:
    """A request fits its limit; what cannot be shared is limited to what is requested."""
    shared = "/" not in name and not name.startswith("hugepages-")
    if limit is None:
        why = "Limit must be set for non overcommitable resources"
        return [] if shared else [required(f"{path}.limits", why)]
    asked, most = parse(value)[0], parse(limit)[0]
    if asked > most or (asked != most and not shared):
        word = "less than or equal" if shared else "equal"
        return [invalid(f"{path}.requests", canonical(value), f"must be {word} to {name} limit of {canonical(limit)}")]
    return []


def _resize(path: str, policies: Sequence[Object], restart: str | None) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, item in enumerate(policies):
        name, policy = item.get("resourceName") or "", item.get("restartPolicy") or ""
        if name in names:
            causes.append(duplicate(f"{path}[{i}]", name))
        names.add(name)
        causes += choice(path, name, ("cpu", "memory"))
        causes += choice(path, policy, ("NotRequired", "RestartContainer"))
        if restart == "Never" and policy != "NotRequired":
            causes.append(invalid(path, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return causes


def _handler(path: str, handler: Object, grace: int | None) -> list[Cause]:
    kinds = [kind for kind in HANDLERS if handler.get(kind) is not None]
    if not kinds:
        return [required(path, "must specify a handler type")]
    kind, value = kinds[0], handler[kinds[0]]
    causes: list[Cause] = []
    if kind == "exec" and not value.get("command"):
        causes.append(required(f"{path}.exec.command"))
    if kind == "httpGet" and not value.get("path"):
        causes.append(required(f"{path}.httpGet.path"))
    if kind in ("httpGet", "tcpSocket", "grpc"):
        causes += port_or_name(f"{path}.{kind}.port", value.get("port", 0))
    if kind == "httpGet":
        if (scheme := value.get("scheme") or "") not in ("HTTP", "HTTPS"):
            causes.append(unsupported(f"{path}.httpGet.scheme", scheme, ("HTTP", "HTTPS")))
        for header in value.get("httpHeaders") or ():
            name = header.get("name") or ""
            causes += [invalid(f"{path}.httpGet.httpHeaders", name, w) for w in formats.http_header(name)]
    if kind == "sleep" and grace is not None and not 0 <= value.get("seconds", 0) <= grace:
        why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        causes.append(invalid(f"{path}.sleep", value.get("seconds", 0), why))
    return causes + [forbidden(f"{path}.{each}", "may not specify more than 1 handler type") for each in kinds[1:]]


def _probe(path: str, probe: Object, grace: int | None, *, readiness: bool) -> list[Cause]:
    causes = _handler(path, probe, grace)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        causes += non_negative(f"{path}.{key}", probe.get(key, 0))
    here, own = f"{path}.terminationGracePeriodSeconds", probe.get("terminationGracePeriodSeconds")
    if own is not None and own <= 0:
        causes.append(invalid(here, own, "must be greater than 0"))
    if own is not None and readiness:
        causes.append(invalid(here, own, "must not be set for readinessProbes"))
    if not readiness and probe.get("successThreshold", 1) != 1:
        causes.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes
