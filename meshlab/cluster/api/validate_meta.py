"""Rules of metadata, labels and selectors, which all kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, forbidden, invalid, required, too_long

__all__ = [
    "annotation_keys",
    "built_in_finalizers",
    "immutable",
    "labels",
    "metadata",
    "metadata_update",
    "name_shape",
    "non_negative",
    "selector",
    "selects",
]

Object = Mapping[str, Any]
Shape = Callable[[str], list[str]]
#: All annotations of an object together, keys and values, in bytes.
ANNOTATIONS_LIMIT = 256 * 1024
#: Finalizers without a domain that Kubernetes knows.
STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
RBAC = "rbac.authorization.k8s.io"
#: Kinds whose names are no DNS subdomains.
SHAPES: dict[tuple[str, str], Shape] = {
    ("", "Namespace"): formats.dns_label,
    ("", "Service"): formats.dns1035_label,
    **{(RBAC, kind): formats.path_segment for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")},
    ("apps", "StatefulSet"): formats.dns_subdomain,
    ("apiregistration.k8s.io", "APIService"): formats.path_segment,
}


def name_shape(group: str, kind: str) -> Shape:
    """The shape that a kind's names have; a DNS subdomain for nearly all of them."""
    return SHAPES.get((group, kind), formats.dns_subdomain)


def non_negative(path: str, value: Any) -> list[Cause]:
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, "must be greater than or equal to 0")]
    return []


def immutable(path: str, new: Any, old: Any) -> list[Cause]:
    return [] if new == old else [invalid(path, new, "field is immutable")]


def labels(path: str, values: Object) -> list[Cause]:
    causes = []
    for key, value in sorted(values.items()):
        causes += [invalid(path, key, why) for why in formats.label_key(key)]
        causes += [invalid(path, value, why) for why in formats.label_value(value)]
    return causes


def selector(path: str, value: Object) -> list[Cause]:
    """A LabelSelector (`matchLabels`, `matchExpressions`)."""
    causes = labels(f"{path}.matchLabels", value.get("matchLabels") or {})
    for i, term in enumerate(value.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{i}]"
        operator, values = term.get("operator", ""), term.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                causes.append(required(f"{here}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(forbidden(f"{here}.values", why))
        else:
            causes.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        causes += [invalid(f"{here}.key", term.get("key", ""), w) for w in formats.label_key(term.get("key", ""))]
        for j, item in enumerate(values):
            causes += [invalid(f"{here}.values[{j}]", item, why) for why in formats.label_value(item)]
    return causes


def selects(value: Object, of: Object) -> bool:
    """Whether a LabelSelector matches these labels."""
    if any(of.get(key) != wanted for key, wanted in (value.get("matchLabels") or {}).items()):
        return False
    for term in value.get("matchExpressions") or ():
        key, values, operator = term.get("key"), term.get("values") or [], term.get("operator")
        matches = {
            "In": of.get(key) in values,
            "NotIn": of.get(key) not in values,
            "Exists": key in of,
            "DoesNotExist": key not in of,
        }
        if not matches.get(str(operator), False):
            return False
    return True


def annotation_keys(path: str, values: Object) -> list[Cause]:
    causes = [invalid(path, k, why) for k in sorted(values) for why in formats.annotation_key(k)]
    if sum(len(k.encode()) + len(str(v).encode()) for k, v in values.items()) > ANNOTATIONS_LIMIT:
        causes.append(too_long(path, ANNOTATIONS_LIMIT))
    return causes


def owners(path: str, references: Sequence[Object]) -> list[Cause]:
    causes, controller = [], ""
    for i, reference in enumerate(references):
        here = f"{path}[{i}]"
        version = reference.get("apiVersion", "")
        if not version:
            causes.append(required(f"{here}.apiVersion", "must not be empty"))
        elif version.count("/") > 1 or version.endswith("/"):
            causes.append(invalid(f"{here}.apiVersion", version, "must be <group>/<version> or <version>"))
        for key in ("kind", "name", "uid"):
            if not reference.get(key):
                causes.append(required(f"{here}.{key}", "must not be empty"))
        if (version, reference.get("kind")) == ("v1", "Event"):
            why = "/v1, Kind=Event is disallowed from being an owner"
            causes.append(invalid(here, dict(reference), why))
        if reference.get("controller"):
            name = f"{reference.get('kind', '')}/{reference.get('name', '')}"
            if controller:
                why = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {name}"
                )
                causes.append(invalid(path, list(references), why))
            controller = controller or name
    return causes


def finalizers(path: str, names: Sequence[str]) -> list[Cause]:
    causes = [invalid(path, name, why) for name in names for why in formats.label_key(name)]
    if "orphan" in names and "foregroundDeletion" in names:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid(path, list(names), why))
    return causes


def built_in_finalizers(names: Sequence[str]) -> list[Cause]:
    """Built-in kinds take names of their own or with a domain."""
    why = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        invalid(f"metadata.finalizers[{i}]", name, why)
        for i, name in enumerate(names) if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def _common(meta: Object) -> list[Cause]:
    return [
        *labels("metadata.labels", meta.get("labels") or {}),
        *annotation_keys("metadata.annotations", meta.get("annotations") or {}),
        *owners("metadata.ownerReferences", meta.get("ownerReferences") or ()),
    ]


def metadata(meta: Object, shape: Shape, *, namespaced: bool) -> list[Cause]:
    """Metadata of a new object."""
    causes = []
    prefix, name, namespace = (str(meta.get(key) or "") for key in ("generateName", "name", "namespace"))
    if prefix:
        causes += [invalid("metadata.generateName", prefix, why) for why in formats.generated(shape)(prefix)]
    if name:
        causes += [invalid("metadata.name", name, why) for why in shape(name)]
    else:
        causes.append(required("metadata.name", "name or generateName is required"))
    if not namespaced:
        if namespace:
            causes.append(forbidden("metadata.namespace", "not allowed on this type"))
    elif namespace:
        causes += [invalid("metadata.namespace", namespace, why) for why in formats.dns_label(namespace)]
    else:
        causes.append(required("metadata.namespace"))
    return [*causes, *_common(meta), *finalizers("metadata.finalizers", meta.get("finalizers") or ())]


def metadata_update(new: Object, old: Object) -> list[Cause]:
    """What may not change, and the shape of what may. The server fills in what a client left out first."""
    causes = []
    if old.get("deletionTimestamp"):
        extra = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if extra:
            listed = ", ".join(f'"{name}"' for name in extra)
            why = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{listed}}}"
            )
            causes.append(forbidden("metadata.finalizers", why))
    for key in ("name", "namespace", "uid"):
        causes += immutable(f"metadata.{key}", new.get(key) or "", old.get(key) or "")
    return causes + _common(new)
