"""Rules of persistent volumes, claims and storage classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, forbidden, invalid, required, unsupported
from meshlab.cluster.api.quantity import parse
from meshlab.cluster.api.validate_meta import immutable, selector

__all__ = ["claim", "storage_class", "volume"]

Object = Mapping[str, Any]
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
#: What a PersistentVolume has beside the one field that says where its data lie.
OF_VOLUMES = frozenset((
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
))  # fmt: skip


def claim(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    if chosen := spec.get("selector"):
        causes += selector("spec.selector", chosen)
    causes += [unsupported("spec.accessModes", m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        causes.append(required("spec.resources[storage]"))
    elif parse(size)[0] <= 0:
        causes.append(invalid("spec.resources[storage]", size, "must be greater than zero"))
    if name := spec.get("storageClassName"):
        causes += [invalid("spec.storageClassName", name, why) for why in formats.dns_subdomain(name)]
    if (mode := spec.get("volumeMode")) not in VOLUME_MODES:
        causes.append(unsupported("spec.volumeMode", mode, VOLUME_MODES))
    if old is not None:
        free = ["volumeAttributesClassName", "volumeName", "storageClassName"]
        if (old.get("status") or {}).get("phase") == "Bound":
            free.append("resources")
        before = old.get("spec") or {}
        kept = {k: v for k, v in spec.items() if k not in free}
        changed = kept != {k: v for k, v in before.items() if k not in free}
        for key in ("volumeName", "storageClassName"):
            changed = changed or (bool(before.get(key)) and spec.get(key) != before.get(key))
        if changed:
            why = (
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                "bound claims"
            )
            causes.append(forbidden("spec", why))
    return causes


def volume(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        causes.append(required("spec.accessModes"))
    causes += [unsupported("spec.accessModes", m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        causes.append(unsupported("spec.capacity", dict(capacity), ("storage",)))
    policy, known = spec.get("persistentVolumeReclaimPolicy"), ("Delete", "Recycle", "Retain")
    if policy and policy not in known:
        causes.append(unsupported("spec.persistentVolumeReclaimPolicy", policy, known))
    sources = [key for key in spec if key not in OF_VOLUMES]
    causes += [forbidden(f"spec.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
    if not sources:
        causes.append(required("spec", "must specify a volume type"))
    if (mode := spec.get("volumeMode")) not in VOLUME_MODES:
        causes.append(unsupported("spec.volumeMode", mode, VOLUME_MODES))
    before = (old or {}).get("spec") or {}
    if old is not None and any(spec.get(key) != before.get(key) for key in {*spec, *before} - OF_VOLUMES):
        why = "spec.persistentvolumesource is immutable after creation"
        causes.append(forbidden("spec.persistentvolumesource", why))
    if old is not None:
        causes += immutable("spec.volumeMode", mode, before.get("volumeMode"))
    return causes


def storage_class(obj: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        causes.append(required("provisioner"))
    else:
        causes += [invalid("provisioner", provisioner, why) for why in formats.label_key(provisioner.lower())]
    policy = obj.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        causes.append(unsupported("reclaimPolicy", policy, ("Delete", "Retain")))
    mode = obj.get("volumeBindingMode")
    if mode not in ("Immediate", "WaitForFirstConsumer"):
        causes.append(unsupported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    if old is not None:
        if (obj.get("parameters") or {}) != (old.get("parameters") or {}):
            causes.append(forbidden("parameters", "updates to parameters are forbidden."))
        if provisioner != old.get("provisioner"):
            causes.append(forbidden("provisioner", "updates to provisioner are forbidden."))
        if policy != old.get("reclaimPolicy"):
            causes.append(forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."))
        causes += immutable("volumeBindingMode", mode, old.get("volumeBindingMode"))
    return causes
