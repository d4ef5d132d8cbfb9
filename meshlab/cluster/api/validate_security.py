"""Rules of security contexts, a pod's and a container's, and of the pods of an operating system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, forbidden, go_struct, invalid, required, unsupported
from meshlab.cluster.api.validate_volumes import descending

__all__ = ["container_security", "operating_system", "pod_security"]

Object = Mapping[str, Any]
SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SYSCTL_LENGTH = 253
PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
#: Fields of a pod's security context with few values.
POLICIES = (
    ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
    ("supplementalGroupsPolicy", ("Merge", "Strict")),
    ("seLinuxChangePolicy", ("MountOption", "Recursive")),
)
#: A container's security context as a real server prints it: its Go struct.
FIELDS = ("Capabilities", "Privileged", "SELinuxOptions", "WindowsOptions", "RunAsUser", "RunAsGroup", "RunAsNonRoot",
          "ReadOnlyRootFilesystem", "AllowPrivilegeEscalation", "ProcMount", "SeccompProfile",
          "AppArmorProfile")  # fmt: skip
#: What pods of Windows cannot have: fields of the pod's security context, of the pod, of a container's context.
NOT_ON_WINDOWS = (
    ("appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
     "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"),
    ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"),
    ("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
     "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup"),
)  # fmt: skip


def pod_security(path: str, spec: Object) -> list[Cause]:
    """`securityContext` of the pod whose spec is at `path`."""
    here, context = f"{path}.securityContext", spec.get("securityContext") or {}
    causes = [cause for key in ("fsGroup", "runAsUser", "runAsGroup") for cause in _id(f"{here}.{key}", context, key)]
    for i, number in enumerate(context.get("supplementalGroups") or ()):
        causes += _id(f"{here}.supplementalGroups[{i}]", {"": number}, "")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{here}.shareProcessNamespace", True, why))
    causes += _sysctls(f"{here}.sysctls", context)
    for key, supported in POLICIES[:1]:
        causes += _policy(f"{here}.{key}", context.get(key), supported)
    causes += _seccomp(f"{here}.seccompProfile", context.get("seccompProfile"))
    causes += _apparmor(f"{here}.appArmorProfile", context.get("appArmorProfile"))
    for key, supported in POLICIES[1:]:
        causes += _policy(f"{here}.{key}", context.get(key), supported)
    return causes


def container_security(path: str, context: Object, *, host_users: bool) -> list[Cause]:
    """A container's `securityContext` at `path`."""
    causes = [cause for key in ("runAsUser", "runAsGroup") for cause in _id(f"{path}.{key}", context, key)]
    mount = context.get("procMount")
    if mount is not None and mount not in ("Default", "Unmasked"):
        causes.append(unsupported(f"{path}.procMount", mount, ("Default", "Unmasked")))
    if host_users and mount == "Unmasked":
        causes.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    causes += _seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        no = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            causes.append(invalid(path, _printed(context), f"{no} `privileged` to true"))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            causes.append(invalid(path, _printed(context), f"{no} `capabilities.Add` CAP_SYS_ADMIN"))
    return causes + _apparmor(f"{path}.appArmorProfile", context.get("appArmorProfile"))


def _id(path: str, context: Object, key: str) -> list[Cause]:
    number = context.get(key)
    if number is None:
        return []
    return [invalid(path, number, why) for why in formats.in_range(number, 0, 2**31 - 1)]


def _policy(path: str, value: Any, supported: tuple[str, ...]) -> list[Cause]:
    return [] if value is None or value in supported else [unsupported(path, value, supported)]


def _sysctls(path: str, context: Object) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, item in enumerate(context.get("sysctls") or ()):
        here, name = f"{path}[{i}].name", item.get("name") or ""
        if not name:
            causes.append(required(here))
        elif len(name) > SYSCTL_LENGTH or not formats.matches(SYSCTL, name):
            why = f"must have at most {SYSCTL_LENGTH} characters and match regex ^{SYSCTL}$"
            causes.append(invalid(here, name, why))
        elif name in names:
            causes.append(duplicate(here, name))
        names.add(name)
    return causes


def _seccomp(path: str, profile: Object | None) -> list[Cause]:
    if profile is None:
        return []
    kind, file = profile.get("type") or "", profile.get("localhostProfile")
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in PROFILES:
        causes.append(unsupported(f"{path}.type", kind, PROFILES))
    if kind == "Localhost":
        if file is None:
            why = "must be set when seccomp type is Localhost"
            return [*causes, required(f"{path}.localhostProfile", why)]
        return causes + descending(f"{path}.localhostProfile", file)
    if file is not None:
        shown, why = go_struct(profile, "Type", "LocalhostProfile"), "can only be set when seccomp type is Localhost"
        causes.append(invalid(f"{path}.localhostProfile", shown, why))
    return causes


def _apparmor(path: str, profile: Object | None) -> list[Cause]:
    if profile is None:
        return []
    kind, name = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in PROFILES:
        return [unsupported(f"{path}.type", kind, PROFILES)]
    if kind != "Localhost":
        why = "can only be set when AppArmor type is Localhost"
        return [] if name is None else [invalid(f"{path}.localhostProfile", name, why)]
    if not name:
        return [required(f"{path}.localhostProfile", "must be set when AppArmor type is Localhost")]
    if name != name.strip():
        return [invalid(f"{path}.localhostProfile", name, "must not be padded with whitespace")]
    return []


def _printed(context: Object) -> Object:
    shown = go_struct(context, *FIELDS) or {}
    shown["SELinuxOptions"] = go_struct(context.get("seLinuxOptions"), "User", "Role", "Type", "Level")
    shown["Capabilities"] = go_struct(shown["Capabilities"], "Add", "Drop")
    for key in ("SeccompProfile", "AppArmorProfile"):
        shown[key] = go_struct(shown[key], "Type", "LocalhostProfile")
    return shown


def _containers(path: str, spec: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(kind) or ()):
            yield f"{path}.{kind}[{i}].securityContext", container.get("securityContext") or {}


def operating_system(path: str, spec: Object) -> list[Cause]:
    """That a pod asks for nothing that its operating system, `spec.os`, does not have."""
    if (system := spec.get("os")) is None:
        return []
    name = system.get("name") or ""
    if not name:
        return [required(f"{path}.os.name", "cannot be empty")]
    if name not in ("linux", "windows"):
        return [unsupported(f"{path}.os", name, ("linux", "windows"))]
    contexts = [(f"{path}.securityContext", spec.get("securityContext") or {}), *_containers(path, spec)]
    if name == "linux":
        return [
            forbidden(f"{here}.windowsOptions", "windows options cannot be set for a linux pod")
            for here, context in contexts
            if context.get("windowsOptions") is not None
        ]
    of_pod, of_spec, of_container = NOT_ON_WINDOWS
    refused = [
        *(f"{path}.securityContext.{key}" for key in of_pod if contexts[0][1].get(key) not in (None, [])),
        *(f"{path}.{key}" for key in of_spec if spec.get(key) not in (None, False)),
        *(f"{here}.{key}" for here, context in contexts[1:] for key in of_container if context.get(key) is not None),
    ]
    return [forbidden(here, "cannot be set for a windows pod") for here in refused]
