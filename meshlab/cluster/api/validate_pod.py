"""Rules of pods and pod templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
    unsupported,
)
from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.validate_meta import annotation_keys, labels, non_negative

__all__ = ["PROTOCOLS", "pod_spec", "port_or_name", "template"]

Object = Mapping[str, Any]
PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
#: What `fieldRef` of a variable may name, besides one label or annotation.
FIELD_PATHS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
               "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")  # fmt: skip
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def template(path: str, value: Object) -> list[Cause]:
    """A PodTemplateSpec at `path`."""
    meta = value.get("metadata") or {}
    return [
        *labels(f"{path}.labels", meta.get("labels") or {}),
        *annotation_keys(f"{path}.annotations", meta.get("annotations") or {}),
        *pod_spec(f"{path}.spec", value.get("spec") or {}),
    ]


def pod_spec(path: str, spec: Object) -> list[Cause]:
    """A PodSpec at `path`."""
    volumes, causes = _volumes(f"{path}.volumes", spec.get("volumes") or ())
    names: set[str] = set()
    containers = spec.get("containers") or ()
    if not containers:
        causes.append(required(f"{path}.containers"))
    for i, container in enumerate(containers):
        causes += _container(f"{path}.containers[{i}]", container, volumes, names, spec)
    for i, container in enumerate(spec.get("initContainers") or ()):
        here = f"{path}.initContainers[{i}]"
        causes += _container(here, container, volumes, names, spec, init=True)
    causes += _choice(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    causes += _choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES)
    causes += labels(f"{path}.nodeSelector", spec.get("nodeSelector") or {})
    if name := spec.get("serviceAccountName"):
        causes += [invalid(f"{path}.serviceAccountName", name, why) for why in formats.dns_subdomain(name)]
    if name := spec.get("nodeName"):
        causes += [invalid(f"{path}.nodeName", name, why) for why in formats.dns_subdomain(name)]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        why = formats.in_range(deadline, 1, 2**31 - 1)[0]
        causes.append(invalid(f"{path}.activeDeadlineSeconds", deadline, why))
    for key in ("hostname", "subdomain"):
        if name := spec.get(key):
            causes += [invalid(f"{path}.{key}", name, why) for why in formats.dns_label(name)]
    causes += _tolerations(f"{path}.tolerations", spec.get("tolerations") or ())
    return causes + _host_aliases(f"{path}.hostAliases", spec.get("hostAliases") or ())


def _choice(path: str, value: Any, supported: Iterable[str]) -> list[Cause]:
    if not value:
        return [required(path)]
    return [] if value in supported else [unsupported(path, value, supported)]


def _volumes(path: str, volumes: Sequence[Object]) -> tuple[set[str], list[Cause]]:
    seen: set[str] = set()
    causes: list[Cause] = []
    for i, volume in enumerate(volumes):
        here, name = f"{path}[{i}]", volume.get("name") or ""
        kinds = [key for key in volume if key != "name"]
        if not kinds:
            causes.append(required(here, "must specify a volume type"))
        for kind in kinds[1:]:
            causes.append(forbidden(f"{here}.{kind}", "may not specify more than 1 volume type"))
        causes += _volume_source(here, volume)
        if not name:
            causes.append(required(f"{here}.name"))
        elif reasons := formats.dns_label(name):
            causes += [invalid(f"{here}.name", name, why) for why in reasons]
        elif name in seen:
            causes.append(duplicate(f"{here}.name", name))
        seen.add(name)
    return seen, causes


def _volume_source(path: str, volume: Object) -> list[Cause]:
    causes: list[Cause] = []
    for kind, key in (("configMap", "name"), ("secret", "secretName"), ("persistentVolumeClaim", "claimName"),
                      ("hostPath", "path")):  # fmt: skip
        source = volume.get(kind)
        if source is not None and not source.get(key):
            causes.append(required(f"{path}.{kind}.{key}"))
    for kind in ("configMap", "secret"):
        source = volume.get(kind) or {}
        mode = source.get("defaultMode")
        if mode is not None and not 0 <= mode <= 0o777:
            why = "must be a number between 0 and 0777 (octal), both inclusive"
            causes.append(invalid(f"{path}.{kind}.defaultMode", mode, why))
        for i, item in enumerate(source.get("items") or ()):
            for key in ("key", "path"):
                if not item.get(key):
                    causes.append(required(f"{path}.{kind}.items[{i}].{key}"))
            target = item.get("path") or ""
            if target.startswith("/"):
                causes.append(invalid(f"{path}.{kind}.items[{i}].path", target, "must be a relative path"))
            elif ".." in target.split("/"):
                causes.append(invalid(f"{path}.{kind}.items[{i}].path", target, "must not contain '..'"))
    return causes


def _container(path: str, container: Object, volumes: set[str], names: set[str], spec: Object, *,
               init: bool = False) -> list[Cause]:  # fmt: skip
    causes: list[Cause] = []
    name, image = container.get("name") or "", container.get("image") or ""
    if not name:
        causes.append(required(f"{path}.name"))
    else:
        causes += [invalid(f"{path}.name", name, why) for why in formats.dns_label(name)]
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    if not image:
        causes.append(required(f"{path}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    causes += _choice(f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"),
                      ("FallbackToLogsOnError", "File"))  # fmt: skip
    causes += _ports(f"{path}.ports", container.get("ports") or ())
    causes += _environment(path, container)
    causes += _mounts(f"{path}.volumeMounts", container.get("volumeMounts") or (), volumes)
    causes += _choice(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES)
    causes += _resources(f"{path}.resources", container.get("resources") or {})
    sidecar = init and container.get("restartPolicy") == "Always"
    for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if key in container and init and not sidecar:
            why = "may not be set for init containers without restartPolicy=Always"
            causes.append(forbidden(f"{path}.{key}", why))
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None:
            causes += _handler(f"{path}.lifecycle.{hook}", handler)
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(key)) is not None:
            causes += _probe(f"{path}.{key}", probe, once=key != "readinessProbe")
    return causes


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
        causes += _choice(f"{here}.protocol", item.get("protocol"), PROTOCOLS)
    return causes


def _environment(path: str, container: Object) -> list[Cause]:
    causes: list[Cause] = []
    for i, variable in enumerate(container.get("env") or ()):
        here, name = f"{path}.env[{i}]", variable.get("name") or ""
        if not name:
            causes.append(required(f"{here}.name"))
        else:
            causes += [invalid(f"{here}.name", name, why) for why in formats.env_name(name)]
        if (source := variable.get("valueFrom")) is not None:
            causes += _value_from(f"{here}.valueFrom", source, variable.get("value") or "")
    for i, source in enumerate(container.get("envFrom") or ()):
        here = f"{path}.envFrom[{i}]"
        kinds = [key for key in ("configMapRef", "secretRef") if key in source]
        if not kinds:
            causes.append(invalid(here, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            why = "may not have more than one field specified at a time"
            causes.append(invalid(here, "", why))
        for kind in kinds:
            if not source[kind].get("name"):
                causes.append(required(f"{here}.{kind}.name"))
    return causes


def _value_from(path: str, source: Object, value: str) -> list[Cause]:
    kinds = [k for k in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef") if k in source]
    causes: list[Cause] = []
    if "fieldRef" in source:
        field = source["fieldRef"].get("fieldPath") or ""
        here = f"{path}.fieldRef.fieldPath"
        subscripted = field.startswith(("metadata.labels['", "metadata.annotations['")) and field.endswith("']")
        if not field:
            causes.append(required(here))
        elif field not in FIELD_PATHS and not subscripted:
            if field.partition(".")[0] in ("metadata", "spec", "status"):
                causes.append(unsupported(here, field, sorted(FIELD_PATHS)))
            else:
                causes.append(invalid(here, field, f"error converting fieldPath: field label not supported: {field}"))
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            for key in ("name", "key"):
                given = source[kind].get(key) or ""
                if not given:
                    causes.append(required(f"{path}.{kind}.{key}"))
                elif key == "key":
                    causes += [invalid(f"{path}.{kind}.key", given, why) for why in formats.config_key(given)]
    if not kinds:
        one = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        causes.append(invalid(path, "", one))
    elif value:
        causes.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(kinds) > 1:
        causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def _mounts(path: str, mounts: Sequence[Object], volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    places: set[str] = set()
    for i, mount in enumerate(mounts):
        here, name, place = f"{path}[{i}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            causes.append(required(f"{here}.name"))
        elif name not in volumes:
            causes.append(not_found(f"{here}.name", name))
        if not place:
            causes.append(required(f"{here}.mountPath"))
        elif place in places:
            causes.append(invalid(f"{here}.mountPath", place, "must be unique"))
        places.add(place)
        if (sub := mount.get("subPath")) and sub.startswith("/"):
            causes.append(invalid(f"{here}.subPath", sub, "must be a relative path"))
        elif sub and ".." in sub.split("/"):
            causes.append(invalid(f"{here}.subPath", sub, "must not contain '..'"))
        if sub and mount.get("subPathExpr"):
            causes.append(invalid(f"{here}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are "
                                  "mutually exclusive"))  # fmt: skip
    return causes


def _resources(path: str, resources: Object) -> list[Cause]:
    causes: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, value in sorted(values.items()):
            here = f"{path}.{kind}[{name}]"
            if "/" not in name and name not in ("cpu", "memory", "ephemeral-storage") and not name.startswith(
                "hugepages-"
            ):
                causes.append(invalid(here, name, "must be a standard resource type or fully qualified"))
                causes.append(invalid(here, name, "must be a standard resource for containers"))
            if parse(value)[0] < 0:
                causes.append(invalid(here, value, "must be greater than or equal to 0"))
            if kind == "requests" and name in limits and parse(value)[0] > parse(limits[name])[0]:
                why = f"must be less than or equal to {name} limit of {limits[name]}"
                causes.append(invalid(f"{path}.requests", value, why))
    return causes


def port_or_name(path: str, value: Any) -> list[Cause]:
    """A port's number, or the name of a container's port."""
    reasons = formats.port(value) if isinstance(value, int) else formats.port_name(str(value))
    return [invalid(path, value, why) for why in reasons]


def _handler(path: str, handler: Object) -> list[Cause]:
    kinds = [kind for kind in HANDLERS if handler.get(kind) is not None]
    if not kinds:
        return [required(path, "must specify a handler type")]
    causes = [forbidden(f"{path}.{kind}", "may not specify more than 1 handler type") for kind in kinds[1:]]
    kind = kinds[0]
    value = handler[kind]
    if kind == "exec" and not value.get("command"):
        causes.append(required(f"{path}.exec.command"))
    if kind in ("httpGet", "tcpSocket"):
        if kind == "httpGet":
            if not value.get("path"):
                causes.append(required(f"{path}.httpGet.path"))
            causes += _choice(f"{path}.httpGet.scheme", value.get("scheme"), ("HTTP", "HTTPS"))
            for header in value.get("httpHeaders") or ():
                name = header.get("name") or ""
                causes += [invalid(f"{path}.httpGet.httpHeaders", name, w) for w in formats.http_header(name)]
        causes += port_or_name(f"{path}.{kind}.port", value.get("port", 0))
    if kind == "grpc":
        causes += port_or_name(f"{path}.grpc.port", value.get("port", 0))
    return causes


def _probe(path: str, probe: Object, *, once: bool) -> list[Cause]:
    causes = _handler(path, probe)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        causes += non_negative(f"{path}.{key}", probe.get(key, 0))
    if once and probe.get("successThreshold", 1) != 1:
        causes.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def _tolerations(path: str, tolerations: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    for i, item in enumerate(tolerations):
        here, key, operator = f"{path}[{i}]", item.get("key") or "", item.get("operator") or ""
        if key:
            causes += [invalid(f"{here}.key", key, why) for why in formats.label_key(key)]
        elif operator != "Exists":
            why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\""
            causes.append(invalid(f"{here}.operator", operator, why))
        if item.get("tolerationSeconds") is not None and item.get("effect") != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.append(invalid(f"{here}.effect", item.get("effect", ""), why))
        if operator == "Exists" and item.get("value"):
            why = "value must be empty when `operator` is 'Exists'"
            causes.append(invalid(f"{here}.operator", dict(item), why))
        elif operator not in ("", "Equal", "Exists"):
            causes.append(unsupported(f"{here}.operator", operator, ("Equal", "Exists")))
        effect = item.get("effect")
        if effect and effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            known = ("NoSchedule", "PreferNoSchedule", "NoExecute")
            causes.append(unsupported(f"{here}.effect", effect, known))
    return causes


def _host_aliases(path: str, aliases: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    for i, alias in enumerate(aliases):
        causes += [invalid(f"{path}[{i}].ip", alias.get("ip"), why) for why in formats.ip(alias.get("ip") or "")]
        for name in alias.get("hostnames") or ():
            causes += [invalid(f"{path}[{i}].hostnames", name, why) for why in formats.dns_subdomain(name)]
    return causes
