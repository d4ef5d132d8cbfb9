"""Cells of every other kind, as `kubectl get` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from meshlab.cluster.api.durations import age, human
from meshlab.cluster.api.rows_pods import label_selector, label_text

__all__ = ["CELLS"]

Object = Mapping[str, Any]
Cells = list[Any]
#: So many hosts or addresses are listed; the rest is counted.
SHOWN = 3
ACCESS = (("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP"))
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def _age(obj: Object, now: datetime) -> str:
    return age((obj.get("metadata") or {}).get("creationTimestamp"), now)


def _balancer(status: Object) -> str:
    listed = ((status or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({item.get("ip") or item.get("hostname") or "" for item in listed} - {""}))


def _service(obj: Object, now: datetime) -> Cells:
    spec = obj.get("spec") or {}
    kind, outside = spec.get("type", ""), list(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        addresses = _balancer(obj.get("status") or {})
        external = ",".join([*([addresses] if addresses else []), *outside]) or "<pending>"
    elif kind == "ExternalName":
        external = spec.get("externalName", "")
    elif kind in ("ClusterIP", "NodePort"):
        external = ",".join(outside) or "<none>"
    else:
        external = "<unknown>"
    ports = []
    for port in spec.get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return [
        _name(obj), kind, spec.get("clusterIP") or "<none>", external, ",".join(ports) or "<none>",
        _age(obj, now), label_text(spec.get("selector")),
    ]  # fmt: skip


def _ingress(obj: Object, now: datetime) -> Cells:
    spec = obj.get("spec") or {}
    rules = spec.get("rules") or ()
    hosts = [rule["host"] for rule in rules[:SHOWN] if rule.get("host")]
    shown = ",".join(hosts) or "*"
    if len(rules) > SHOWN and hosts:
        shown += f" + {len(rules) - SHOWN} more..."
    return [
        _name(obj), spec.get("ingressClassName") or "<none>", shown, _balancer(obj.get("status") or {}),
        "80, 443" if spec.get("tls") else "80", _age(obj, now),
    ]  # fmt: skip


def _ingress_class(obj: Object, now: datetime) -> Cells:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = "<none>"
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [_name(obj), spec.get("controller", ""), shown, _age(obj, now)]


def _endpoints(obj: Object, now: datetime) -> Cells:
    listed, count = [], 0
    subsets = obj.get("subsets") or ()
    for subset in subsets:
        ports = [port.get("port") for port in subset.get("ports") or ()]
        for port in ports or [None]:
            for address in subset.get("addresses") or ():
                count += 1
                ip = address.get("ip", "")
                listed.append(f"{f'[{ip}]' if ':' in ip else ip}:{port}" if port is not None else ip)
    shown = ",".join(listed[:SHOWN])
    if count > SHOWN:
        shown += f" + {count - SHOWN} more..."
    return [_name(obj), shown if subsets else "<none>", _age(obj, now)]


def _few(values: Sequence[str], nothing: str) -> str:
    shown = ",".join(values[:SHOWN])
    return f"{shown} + {len(values) - SHOWN} more..." if len(values) > SHOWN else shown or nothing


def _endpointslice(obj: Object, now: datetime) -> Cells:
    shown = _few([str(p.get("port") or p.get("name") or "*") for p in obj.get("ports") or ()], "<unset>")
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [_name(obj), obj.get("addressType", ""), shown, _few(addresses, "<unset>"), _age(obj, now)]


def _node(obj: Object, now: datetime) -> Cells:
    spec, status, meta = obj.get("spec") or {}, obj.get("status") or {}, obj.get("metadata") or {}
    words = [
        "Ready" if c.get("status") == "True" else "NotReady"
        for c in status.get("conditions") or ()
        if c.get("type") == "Ready"
    ] or ["Unknown"]
    if spec.get("unschedulable"):
        words.append("SchedulingDisabled")
    roles = set()
    for key, value in (meta.get("labels") or {}).items():
        if key.startswith("node-role.kubernetes.io/"):
            roles.add(key.removeprefix("node-role.kubernetes.io/"))
        elif key == "kubernetes.io/role":
            roles.add(value)
    addresses: dict[str, str] = {}
    for address in status.get("addresses") or ():
        addresses.setdefault(address.get("type", ""), address.get("address", ""))
    info = status.get("nodeInfo") or {}
    return [
        _name(obj), ",".join(words), ",".join(sorted(roles - {""})) or "<none>", _age(obj, now),
        info.get("kubeletVersion", ""), addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"), info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>", info.get("containerRuntimeVersion") or "<unknown>",
    ]  # fmt: skip


def _event(obj: Object, now: datetime) -> Cells:
    series = obj.get("series") or {}
    last, first = obj.get("lastTimestamp"), obj.get("firstTimestamp")
    count = obj.get("count") or 0
    seen_first = age(first, now)
    if not first:
        seen_first = age(obj.get("eventTime"), now)
    if series:
        seen_last, count = age(series.get("lastObservedTime"), now), series.get("count", count)
    else:
        seen_last = age(last, now) if last else seen_first
    involved = obj.get("involvedObject") or {}
    source = obj.get("source") or {}
    origin = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    target = str(involved.get("kind", "")).lower() + (f"/{involved['name']}" if involved.get("name") else "")
    return [
        seen_last, obj.get("type", ""), obj.get("reason", ""), target, involved.get("fieldPath", ""),
        f"{origin}, {host}" if host else origin, str(obj.get("message", "")).strip(), seen_first, count or 1,
        _name(obj),
    ]  # fmt: skip


def _namespace(obj: Object, now: datetime) -> Cells:
    return [_name(obj), (obj.get("status") or {}).get("phase", ""), _age(obj, now)]


def _secret(obj: Object, now: datetime) -> Cells:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or {}), _age(obj, now)]


def _service_account(obj: Object, now: datetime) -> Cells:
    return [_name(obj), len(obj.get("secrets") or ()), _age(obj, now)]


def _config_map(obj: Object, now: datetime) -> Cells:
    return [_name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), _age(obj, now)]


def _modes(modes: Sequence[str] | None) -> str:
    return ",".join(short for long, short in ACCESS if long in (modes or ()))


def _class(obj: Object) -> str:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    legacy = annotations.get("volume.beta.kubernetes.io/storage-class")
    return str(legacy or (obj.get("spec") or {}).get("storageClassName") or "")


def _phase(obj: Object) -> str:
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def _volume(obj: Object, now: datetime) -> Cells:
    spec, claim = obj.get("spec") or {}, (obj.get("spec") or {}).get("claimRef") or {}
    return [
        _name(obj), str((spec.get("capacity") or {}).get("storage", "0")), _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""), _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "", _class(obj),
        spec.get("volumeAttributesClassName") or "<unset>", (obj.get("status") or {}).get("reason", ""),
        _age(obj, now), spec.get("volumeMode") or "<unset>",
    ]  # fmt: skip


def _claim(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    bound = bool(spec.get("volumeName"))
    return [
        _name(obj), _phase(obj), spec.get("volumeName", ""),
        str((status.get("capacity") or {}).get("storage", "0")) if bound else "",
        _modes(status.get("accessModes")) if bound else "", _class(obj),
        spec.get("volumeAttributesClassName") or "<unset>", _age(obj, now), spec.get("volumeMode") or "<unset>",
    ]  # fmt: skip


def _quota(obj: Object, now: datetime) -> Cells:
    status = obj.get("status") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name, hard in sorted((status.get("hard") or {}).items()):
        text = f"{name}: {(status.get('used') or {}).get(name, '0')}/{hard}"
        (limits if name.startswith("limits.") else requests).append(text)
    return [_name(obj), ", ".join(requests), ", ".join(limits), _age(obj, now)]


def _autoscaler(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    return [
        _name(obj), f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(spec.get("metrics") or (), status.get("currentMetrics") or ()),
        "<unset>" if spec.get("minReplicas") is None else str(spec["minReplicas"]), spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0), _age(obj, now),
    ]  # fmt: skip


def _targets(metrics: Sequence[Object], current: Sequence[Object]) -> str:
    """`cpu: 12%/80%`, at most two of them."""
    shown = []
    for i, metric in enumerate(metrics):
        kind = str(metric.get("type", ""))
        key = kind[:1].lower() + kind[1:]
        source = metric.get(key) or {}
        wanted = source.get("target") or {}
        seen = ((current[i] if i < len(current) else {}).get(key) or {}).get("current") or {}
        if wanted.get("averageUtilization") is not None:
            now = seen.get("averageUtilization")
            text = f"{'<unknown>' if now is None else f'{now}%'}/{wanted['averageUtilization']}%"
        elif wanted.get("averageValue") is not None:
            suffix = " (avg)" if kind in ("Object", "External") else ""
            text = f"{seen.get('averageValue', '<unknown>')}/{wanted['averageValue']}{suffix}"
        else:
            text = f"{seen.get('value', '<unknown>')}/{wanted.get('value', '<auto>')}"
        shown.append(f"{source.get('name', '')}: {text}" if kind in ("Resource", "ContainerResource") else text)
    if not shown:
        return "<none>"
    more = f" + {len(shown) - 2} more..." if len(shown) > 2 else ""
    return ", ".join(shown[:2]) + more


def _disruption_budget(obj: Object, now: datetime) -> Cells:
    spec = obj.get("spec") or {}
    shown = ["N/A" if spec.get(k) is None else str(spec[k]) for k in ("minAvailable", "maxUnavailable")]
    return [_name(obj), *shown, (obj.get("status") or {}).get("disruptionsAllowed", 0), _age(obj, now)]


def _network_policy(obj: Object, now: datetime) -> Cells:
    return [_name(obj), label_selector((obj.get("spec") or {}).get("podSelector") or {}), _age(obj, now)]


def _role_binding(obj: Object, now: datetime) -> Cells:
    role = obj.get("roleRef") or {}
    kinds: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        kinds.setdefault(subject.get("kind", ""), []).append(name)
    listed = (", ".join(kinds[kind]) for kind in ("User", "Group", "ServiceAccount"))
    return [_name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", _age(obj, now), *listed]


def _storage_class(obj: Object, now: datetime) -> Cells:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    name = _name(obj) + (" (default)" if annotations.get(DEFAULT_CLASS) == "true" else "")
    grows = bool(obj.get("allowVolumeExpansion"))
    return [
        name, obj.get("provisioner", ""), obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"), grows, _age(obj, now),
    ]  # fmt: skip


def _priority_class(obj: Object, now: datetime) -> Cells:
    preemption = obj.get("preemptionPolicy", "")
    return [_name(obj), obj.get("value", 0), bool(obj.get("globalDefault")), _age(obj, now), preemption]


def _runtime_class(obj: Object, now: datetime) -> Cells:
    return [_name(obj), obj.get("handler", ""), _age(obj, now)]


def _lease(obj: Object, now: datetime) -> Cells:
    return [_name(obj), (obj.get("spec") or {}).get("holderIdentity") or "", _age(obj, now)]


def _signing_request(obj: Object, now: datetime) -> Cells:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    known = {condition.get("type") for condition in status.get("conditions") or ()}
    words = [next((word for word in ("Denied", "Approved") if word in known), "Pending")]
    if "Failed" in known:
        words.append("Failed")
    if status.get("certificate"):
        words.append("Issued")
    seconds = spec.get("expirationSeconds")
    return [
        _name(obj), _age(obj, now), spec.get("signerName") or "<none>", spec.get("username", ""),
        "<none>" if seconds is None else human(seconds), ",".join(words),
    ]  # fmt: skip


def _webhooks(obj: Object, now: datetime) -> Cells:
    return [_name(obj), len(obj.get("webhooks") or ()), _age(obj, now)]


def _policy(obj: Object, now: datetime) -> Cells:
    spec = obj.get("spec") or {}
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else "<unset>"
    return [_name(obj), len(spec.get("validations") or ()), shown, _age(obj, now)]


def _policy_binding(obj: Object, now: datetime) -> Cells:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef") or {}
    shown = "<unset>"
    if name := reference.get("name"):
        shown = f"{reference.get('namespace') or '*'}/{name}"
    elif "selector" in reference:
        shown = label_selector(reference["selector"])
    return [_name(obj), spec.get("policyName", ""), shown, _age(obj, now)]


def _api_service(obj: Object, now: datetime) -> Cells:
    service = (obj.get("spec") or {}).get("service")
    shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    available = "Unknown"
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Available":
            available = condition.get("status", "")
            if available != "True":
                available += f" ({condition.get('reason', '')})"
    return [_name(obj), shown, available, _age(obj, now)]


def _revision(obj: Object, now: datetime) -> Cells:
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    owner = next((o for o in owners if o.get("controller")), None)
    shown = "<none>"
    if owner:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        shown = f"{owner.get('kind', '').lower()}{f'.{group}' if group else ''}/{owner.get('name', '')}"
    return [_name(obj), shown, obj.get("revision", 0), _age(obj, now)]


HOOKS = "admissionregistration.k8s.io"
CELLS = {
    ("", "Service"): _service,
    ("", "Endpoints"): _endpoints,
    ("", "Node"): _node,
    ("", "Event"): _event,
    ("", "Namespace"): _namespace,
    ("", "Secret"): _secret,
    ("", "ServiceAccount"): _service_account,
    ("", "ConfigMap"): _config_map,
    ("", "PersistentVolume"): _volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "ResourceQuota"): _quota,
    ("apps", "ControllerRevision"): _revision,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("networking.k8s.io", "IngressClass"): _ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("discovery.k8s.io", "EndpointSlice"): _endpointslice,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("rbac.authorization.k8s.io", "RoleBinding"): _role_binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _role_binding,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("node.k8s.io", "RuntimeClass"): _runtime_class,
    ("coordination.k8s.io", "Lease"): _lease,
    ("certificates.k8s.io", "CertificateSigningRequest"): _signing_request,
    (HOOKS, "ValidatingAdmissionPolicy"): _policy,
    (HOOKS, "ValidatingAdmissionPolicyBinding"): _policy_binding,
    (HOOKS, "ValidatingWebhookConfiguration"): _webhooks,
    (HOOKS, "MutatingWebhookConfiguration"): _webhooks,
    ("apiregistration.k8s.io", "APIService"): _api_service,
}
