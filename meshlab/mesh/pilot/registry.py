"""Kubernetes objects in, Worlds out. No I/O: `apply` takes events, wherever they come from.

What an event does not change keeps its identity: the Service, the tuple of instances, the index of rules. That
is what makes a World cheap to make and lets translation (see `memo`) skip all but what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from meshlab.errors import ManifestError
from meshlab.mesh.config.ingress import ingress_rules, is_ours
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.meshconfig import MeshConfig, parse_mesh_config
from meshlab.mesh.config.model import Config, IngressRule
from meshlab.mesh.config.outside import Endpoint
from meshlab.mesh.config.services import Authentication, Instance, Service, hidden, service_from_kubernetes
from meshlab.mesh.pilot.backing import Backing, address, backing_of, first_label
from meshlab.mesh.pilot.pods import Pod, moved, read_pod
from meshlab.mesh.pilot.policy import CheckRule, check_rule
from meshlab.mesh.pilot.protection import KINDS as SECURITY
from meshlab.mesh.pilot.protection import Protection
from meshlab.mesh.pilot.rulebook import LEGACY, TODAY, Rulebook
from meshlab.mesh.pilot.tls import key_pair
from meshlab.mesh.pilot.world import KeyPair, Mesh, Problem, World

__all__ = ["BUILT_IN", "CONFIG_MAP", "KINDS", "SECRETS", "Registry"]

Object = Mapping[str, Any]
Key = tuple[str, str]
#: Where the mesh's own settings are: namespace, name, key.
CONFIG_MAP = ("istio-system", "istio", "mesh")
#: Annotation of that ConfigMap with which 0.4.0's double report can be shown; Mixer reads it, too.
DOUBLE_REPORT = "meshlab.io/double-report"
#: Which secrets are read: none of the many that are only service accounts' tokens.
SECRETS = "type!=kubernetes.io/service-account-token"
#: Kinds that every cluster has, and their apiVersion.
BUILT_IN: Mapping[str, str] = {
    "services": "v1",
    "endpoints": "v1",
    "pods": "v1",
    "configmaps": "v1",
    #: For gateways: those with a certificate and a key.
    "secrets": "v1",
    "ingresses": "networking.k8s.io/v1",
    #: For their labels, by which a Gateway may choose whose routes it takes.
    "namespaces": "v1",
}
#: Plural → apiVersion of everything that a registry takes.
KINDS: Mapping[str, str] = {
    **BUILT_IN,
    **dict.fromkeys(LEGACY, "config.istio.io/v1alpha2"),
    **SECURITY,
    #: Mixer's: only whether there are any that refuse.
    "rules": "config.istio.io/v1alpha2",
    **{plural: kind.api_version for plural, kind in TODAY.items()},
}


class Registry:
    """Collects objects by events, and makes a World of them on demand."""

    def __init__(self, mesh: Mesh | None = None, readable: Callable[[str], bool] = bool) -> None:
        """`readable`: whether a file is there for sidecars, which rules may name."""
        self._mesh = mesh or Mesh()
        self.config = MeshConfig()
        self._double_report = False
        self._services: dict[Key, Service] = {}
        self._backing: dict[Key, Backing] = {}
        self._subsets: dict[Key, list[Any]] = {}
        self._pods: dict[Key, Pod] = {}
        self._by_ip: dict[str, Pod] = {}
        self.rules = Rulebook(self._mesh.domain, readable)
        self.protection = Protection(self._mesh.domain)
        self._secrets: dict[str, KeyPair] = {}
        self._ingresses: dict[Key, Object] = {}
        self._spaces: dict[str, Labels] = {}
        self._checks: dict[Key, CheckRule] = {}
        self._invalid: dict[tuple[str, Key], Problem] = {}
        self._left_out: tuple[Problem, ...] = ()
        self._instances: dict[str, tuple[Instance, ...]] = {}
        #: Pod address → host → instances there; host → pod addresses.
        self._local: dict[str, dict[str, tuple[Instance, ...]]] = {}
        self._places: dict[str, set[str]] = {}
        #: (namespace, label, value) → pods that have it, services whose selector begins with it.
        self._labelled: dict[tuple[str, str, str], set[Key]] = {}
        self._selecting: dict[tuple[str, str, str], set[Key]] = {}
        self._stale: set[Key] = set()
        #: Addresses of pods that came, changed or went.
        self._moved: set[str] = set()
        self._dirty: set[str] = {"mesh"}
        self._world = World(self._mesh)

    def apply(self, plural: str, event: str, obj: Object) -> bool:
        """Takes ADDED, MODIFIED or DELETED of an object; whether the next World differs by it."""
        meta = obj.get("metadata") or {}
        key = (str(meta.get("namespace") or ""), str(meta.get("name") or ""))
        gone = event == "DELETED"
        if plural in LEGACY or plural in TODAY:
            changed = self.rules.apply(plural, key, None if gone else obj)
            if changed:
                self._dirty.add("rulebook")
            return changed
        if plural in SECURITY:
            if changed := self.protection.apply(plural, key, None if gone else obj):
                self._dirty.add("security")
            return changed
        take = {
            "services": self._service, "endpoints": self._endpoints, "pods": self._pod, "secrets": self._secret,
            "configmaps": self._config_map, "ingresses": self._ingress, "rules": self._check,
            "namespaces": self._namespace,
        }[plural]
        take(key, None if gone else obj)
        return bool(self._dirty or self._stale)

    # Events

    def _service(self, key: Key, obj: Object | None) -> None:
        if obj is None or hidden(obj):
            service = self._services.pop(key, None)
            self._back(key, None)
            if service is not None:
                self._dirty.add("services")
                self._stale.add(key)
            return
        service, backing = service_from_kubernetes(obj, self._mesh.domain), backing_of(obj)
        if self._services.get(key) != service:
            self._services[key] = service
            self._dirty.add("services")
            self._stale.add(key)
        if self._backing.get(key) != backing:
            self._back(key, backing)
            self._stale.add(key)

    def _back(self, key: Key, backing: Backing | None) -> None:
        before = self._backing.pop(key, None)
        if before is not None and (label := first_label(key[0], before.selector)):
            self._selecting[label].discard(key)
        if backing is not None:
            self._backing[key] = backing
            if label := first_label(key[0], backing.selector):
                self._selecting.setdefault(label, set()).add(key)

    def _endpoints(self, key: Key, obj: Object | None) -> None:
        subsets = [
            {
                "addresses": [address(a) for a in each.get("addresses") or ()],
                "ports": [(p.get("name") or "", p["port"]) for p in each.get("ports") or ()],
            }
            for each in (obj.get("subsets") or () if obj else ())
        ]
        if self._subsets.get(key, []) != subsets:
            self._subsets[key] = subsets
            if not subsets:
                del self._subsets[key]
            self._stale.add(key)

    def _pod(self, key: Key, obj: Object | None) -> None:
        before, now = self._pods.get(key), read_pod(obj) if obj is not None else None
        if before == now:
            return
        if before is not None:
            del self._pods[key]
            if self._by_ip.get(before.ip) is before:
                del self._by_ip[before.ip]
            for label in before.labels.items():
                self._labelled[key[0], *label].discard(key)
        if now is not None:
            self._pods[key] = self._by_ip[now.ip] = now
            for label in now.labels.items():
                self._labelled.setdefault((key[0], *label), set()).add(key)
        self._dirty.add("pods")
        self._moved |= {pod.ip for pod in (before, now) if pod is not None}
        for pod in (before, now):
            for label in pod.labels.items() if pod is not None else ():
                for each in self._selecting.get((key[0], *label), ()):
                    if pod is not None and self._backing[each].selector.subset_of(pod.labels):
                        self._stale.add(each)

    def _secret(self, key: Key, obj: Object | None) -> None:
        name = "/".join(key)
        before, now = self._secrets.pop(name, None), key_pair(obj.get("data") or {}) if obj is not None else None
        if now is not None:
            self._secrets[name] = now
        if now != before:
            self._dirty.add("secrets")
        if self.protection.secret(key, obj):
            self._dirty.add("security")

    def _ingress(self, key: Key, obj: Object | None) -> None:
        before = self._ingresses.pop(key, None)
        if obj is not None:
            self._ingresses[key] = obj
        if before is None or obj is None or _said(before) != _said(obj):
            self._dirty.add("ingresses")

    def _namespace(self, key: Key, obj: Object | None) -> None:
        name = key[1]
        before, now = self._spaces.pop(name, None), None
        if obj is not None:
            now = self._spaces[name] = Labels((obj.get("metadata") or {}).get("labels") or {})
        if now != before:
            self._dirty.add("namespaces")

    def ingresses(self) -> Mapping[Key, Object]:
        """Ingress objects as they are stored, of whatever class."""
        return self._ingresses

    def _check(self, key: Key, obj: Object | None) -> None:
        before, now = self._checks.pop(key, None), check_rule(obj) if obj is not None else None
        if now is not None:
            self._checks[key] = now
        if now != before:
            self._dirty.add("rules")

    def _config_map(self, key: Key, obj: Object | None) -> None:
        if key != CONFIG_MAP[:2]:
            return
        text = ((obj or {}).get("data") or {}).get(CONFIG_MAP[2], "")
        annotations = ((obj or {}).get("metadata") or {}).get("annotations") or {}
        self._double_report = annotations.get(DOUBLE_REPORT) == "true"
        problem = ("configmaps", key)
        self._invalid.pop(problem, None)
        self._dirty.add("mesh")
        try:
            self.config = parse_mesh_config(text) if text else MeshConfig()
        except ManifestError as error:
            # The settings that were valid stay.
            self._invalid[problem] = Problem("configmap/istio-system/istio", error.seen)

    # The World

    def world(self) -> World:
        """The present state; the same object as long as nothing changes."""
        if not self._dirty and not self._stale:
            return self._world
        changes: dict[str, Any] = {}
        if "mesh" in self._dirty:
            changes["mesh"] = self._settings()
        if "services" in self._dirty:
            changes["services"] = tuple(sorted(self._services.values(), key=attrgetter("hostname")))
        if self._stale or "pods" in self._dirty:
            touched = self._refresh()
            changes["instances"] = dict(self._instances)
            local = changes["local"] = dict(self._world.local)
            for ip in touched:
                by_host = self._local.get(ip, {})
                local[ip] = tuple(i for _, listed in sorted(by_host.items()) for i in listed)
                if not by_host:
                    del local[ip]
                    self._local.pop(ip, None)
            changes |= moved(self._world, self._by_ip, self._moved)
            self._moved.clear()
        if "secrets" in self._dirty:
            changes["secrets"] = dict(self._secrets)
        if "namespaces" in self._dirty:
            changes["namespaces"] = dict(self._spaces)
        changes |= self.rules.changes(self._endpoints_of_pods, everything="pods" in self._dirty and self.rules.selects)
        if "problems" in changes or self._dirty & {"mesh", "security"}:
            self._left_out = changes.get("problems", self._left_out)
            changes["problems"] = (*self._invalid.values(), *self._left_out, *self.protection.problems())
        if self._dirty & {"security", "mesh", "services"}:
            changes |= self._security()
        if self._dirty & {"rules", "mesh"}:
            on = not self.config.disable_policy_checks
            changes["checks"] = frozenset(self._checks.values()) if on else frozenset()
        if self._dirty & {"ingresses", "mesh"}:
            changes["ingress_rules"] = self._ingress_rules()
        self._dirty.clear()
        self._world = replace(self._world, **changes)
        return self._world

    def _endpoints_of_pods(self) -> Iterable[tuple[str, Endpoint]]:
        """Pods as service entries with a selector choose them."""
        return [(pod.namespace, Endpoint(pod.ip, labels=pod.labels)) for pod in self._pods.values()]

    def _security(self) -> dict[str, Any]:
        inherit = Authentication.INHERIT
        annotated = any(p.authentication is not inherit for s in self._services.values() for p in s.ports)
        if not self._dirty & {"security", "mesh"} and annotated == self._world.security.annotated:
            return {}
        return {"security": self.protection.security(self.config, annotated=annotated)}

    def _settings(self) -> Mesh:
        config = self.config
        return replace(
            self._mesh,
            mixer=bool(config.mixer_address),
            double_report=self._double_report,
            tracing=config.enable_tracing,
            access_log=config.access_log_file,
            connect_timeout=config.connect_timeout,
            listen_port=config.proxy_listen_port,
            ingress_service=config.ingress_service,
            outbound=config.outbound_traffic_policy,
        )

    def _ingress_rules(self) -> tuple[Config[IngressRule], ...]:
        mode, name = self.config.ingress_controller_mode, self.config.ingress_class
        return tuple(
            rule
            for _, obj in sorted(self._ingresses.items())
            if is_ours((obj.get("metadata") or {}).get("annotations"), mode, name)
            for rule in ingress_rules(obj, self._mesh.domain)
        )

    def _refresh(self) -> set[str]:
        """Instances of the services that changed, by service (ready ones) and by pod; the pods concerned."""
        touched: set[str] = set()
        for key in self._stale:
            host = f"{key[1]}.{key[0]}.svc.{self._mesh.domain}"
            for ip in self._places.pop(host, ()):
                self._local[ip].pop(host, None)
                touched.add(ip)
            service = self._services.get(key)
            ready = tuple(self._ready(key, service)) if service is not None else ()
            if not ready:
                self._instances.pop(host, None)
            elif self._instances.get(host, ()) != ready:
                self._instances[host] = ready
            if service is None:
                continue
            behind = {(i.address, i.port, i.service_port.name): i for i in ready}
            for each in self._selected(key, service):
                behind.setdefault((each.address, each.port, each.service_port.name), each)
            for each in sorted(behind.values(), key=lambda i: (i.service_port.number, i.port)):
                by_host = self._local.setdefault(each.address, {})
                by_host[host] = (*by_host.get(host, ()), each)
                self._places.setdefault(host, set()).add(each.address)
            touched |= self._places.get(host, set())
        self._stale.clear()
        return touched

    def _ready(self, key: Key, service: Service) -> list[Instance]:
        """From the Endpoints object: what the controller found ready."""
        found: list[Instance] = []
        for subset in self._subsets.get(key, ()):
            for name, number in subset["ports"]:
                port = service.port_named(name)
                if port is None and len(service.ports) == 1 and not name:
                    port = service.ports[0]
                if port is None:
                    continue
                found += [self._instance(service, port, ip, number, ref) for ip, ref in subset["addresses"]]
        return found

    def _selected(self, key: Key, service: Service) -> list[Instance]:
        """From labels: pods that are not ready yet need their inbound listeners to become so."""
        backing = self._backing[key]
        label = first_label(key[0], backing.selector)
        if label is None:
            return []
        found: list[Instance] = []
        for each in sorted(self._labelled.get(label, ())):
            pod = self._pods[each]
            if not backing.selector.subset_of(pod.labels):
                continue
            for port in service.ports:
                target = backing.targets.get(port.name, port.number)
                number = pod.ports.get(target) if isinstance(target, str) else target
                if number is not None:
                    instance = self._instance(service, port, pod.ip, number, (pod.namespace, pod.name))
                    found.append(replace(instance, ready=False))
        return found

    def _instance(self, service: Service, port: Any, ip: str, number: int, ref: Key | None) -> Instance:
        pod = self._pods.get(ref) if ref is not None else None
        if pod is None:
            pod = self._by_ip.get(ip)
        if pod is None:
            return Instance(ip, number, service, port)
        return Instance(
            ip, number, service, port, pod.labels, pod.name, pod.namespace, pod.service_account
        )


def _said(ingress: Object) -> tuple[object, object]:
    """What of an Ingress anything depends on: not its status."""
    return (ingress.get("metadata") or {}).get("annotations"), ingress.get("spec")
