"""Rules of a container's environment, and of what shows a pod's own fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, invalid, required, unsupported
from meshlab.cluster.api.quantity import canonical

__all__ = ["field_reference", "resource_reference", "sources", "variables"]

Object = Mapping[str, Any]
#: What a variable may show, besides one label or annotation.
FIELD_PATHS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
               "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")  # fmt: skip
#: Fields of a pod that have a label in the downward API at all.
LABELLED = (*FIELD_PATHS, "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName",
            "status.phase")  # fmt: skip
#: `metadata.labels['app']`
SUBSCRIPTED = re.compile(r"(.*)\['(.*)'\]", re.S)
RESOURCES = ("limits.cpu", "limits.ephemeral-storage", "limits.memory",
             "requests.cpu", "requests.ephemeral-storage", "requests.memory")  # fmt: skip
HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
MANY = "may not have more than one field specified at a time"


def variables(path: str, values: Sequence[Object]) -> list[Cause]:
    """`env`"""
    causes: list[Cause] = []
    for i, variable in enumerate(values):
        here, name = f"{path}[{i}]", variable.get("name") or ""
        if not name:
            causes.append(required(f"{here}.name"))
        else:
            causes += [invalid(f"{here}.name", name, why) for why in formats.env_name(name)]
        if (source := variable.get("valueFrom")) is not None:
            causes += _value_from(f"{here}.valueFrom", source, variable.get("value") or "")
    return causes


def sources(path: str, values: Sequence[Object]) -> list[Cause]:
    """`envFrom`; a real server says of the whole list that one of it names nothing."""
    causes: list[Cause] = []
    for i, source in enumerate(values):
        here = f"{path}[{i}]"
        if prefix := source.get("prefix"):
            causes += [invalid(f"{here}.prefix", prefix, why) for why in formats.env_name(prefix)]
        kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in kinds:
            name = source[kind].get("name") or ""
            if not name:
                causes.append(required(f"{here}.{kind}.name"))
            else:
                shape = formats.generated(formats.dns_subdomain)
                causes += [invalid(f"{here}.{kind}.name", name, why) for why in shape(name)]
        if not kinds:
            causes.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            causes.append(invalid(path, "", MANY))
    return causes


def _value_from(path: str, source: Object, value: str) -> list[Cause]:
    kinds = [k for k in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
             if source.get(k) is not None]  # fmt: skip
    causes: list[Cause] = []
    for kind in kinds:
        here, one = f"{path}.{kind}", source[kind]
        if kind == "fieldRef":
            causes += field_reference(here, one, FIELD_PATHS)
        elif kind == "resourceFieldRef":
            causes += resource_reference(here, one, named=False)
        else:
            name, key = one.get("name") or "", one.get("key") or ""
            causes += [invalid(f"{here}.name", name, why) for why in formats.dns_subdomain(name)]
            if not key:
                causes.append(required(f"{here}.key"))
            else:
                causes += [invalid(f"{here}.key", key, why) for why in formats.config_key(key)]
    if not kinds:
        one_of = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        causes.append(invalid(path, "", one_of))
    elif value:
        causes.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(kinds) > 1:
        causes.append(invalid(path, "", MANY))
    return causes


def field_reference(path: str, reference: Object, supported: Collection[str]) -> list[Cause]:
    """A `fieldRef` at `path`."""
    if not reference.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    here, field = f"{path}.fieldPath", reference.get("fieldPath") or ""
    if not field:
        return [required(here)]
    if match := SUBSCRIPTED.fullmatch(field):
        if match[1] == "metadata.annotations":
            return [invalid(path, match[2].lower(), why) for why in formats.annotation_key(match[2])]
        if match[1] == "metadata.labels":
            return [invalid(path, match[2], why) for why in formats.label_key(match[2])]
        why = f"field label does not support subscript: {field}"
        return [invalid(here, field, f"error converting fieldPath: {why}")]
    if field not in LABELLED:
        return [invalid(here, field, f"error converting fieldPath: field label not supported: {field}")]
    return [] if field in supported else [unsupported(here, field, sorted(supported))]


def resource_reference(path: str, reference: Object, *, named: bool) -> list[Cause]:
    """A `resourceFieldRef` at `path`; outside of containers it must name one."""
    resource, divisor = reference.get("resource") or "", canonical(reference.get("divisor") or "0")
    causes: list[Cause] = []
    huge = resource.startswith(HUGE_PAGES)
    if named and not reference.get("containerName"):
        causes.append(required(f"{path}.containerName"))
    elif not resource:
        causes.append(required(f"{path}.resource"))
    elif resource not in RESOURCES and not huge:
        causes.append(unsupported(f"{path}.resource", resource, RESOURCES))
    if divisor == "0" or (resource not in RESOURCES and not huge):
        return causes
    what = "hugepages" if huge else resource.partition(".")[2].replace("ephemeral", "local ephemeral").replace("-", " ")
    listed = "1m and 1" if what == "cpu" else ", ".join(DIVISORS)
    if divisor not in (("1m", "1") if what == "cpu" else DIVISORS):
        why = f"only divisor's values {listed} are supported with the {what} resource"
        causes.append(invalid(f"{path}.divisor", resource, why))
    return causes
