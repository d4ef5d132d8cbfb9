"""Stored rules of both generations, and what is in force of them: one model (`combine.Combined`) and the rest.

An object is decoded, judged and translated once, when it comes. Together they are put in order when a World is made;
what did not change keeps its identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.errors import RuleError
from meshlab.mesh.config.combine import Combined, combine
from meshlab.mesh.config.grants import Grant, Reference, refused_references
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import Config
from meshlab.mesh.config.outside import OUR_LABEL, Endpoint, ExternalService
from meshlab.mesh.config.routing import HostRules
from meshlab.mesh.config.today.kinds import GATEWAY_API, NETWORKING, TELEMETRY, Kind, kinds
from meshlab.mesh.config.today.kubernetes_routes import CONTROLLER, host_rules, merged, mesh_gateway
from meshlab.mesh.config.today.outside_rules import external_service
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.validate import problems
from meshlab.mesh.config.traffic import HostTraffic
from meshlab.mesh.config.v1alpha2 import config_from_object
from meshlab.mesh.config.validate import validate
from meshlab.mesh.pilot.assemble import Judged, egress_in_force, policies_by_host, routes_by_host
from meshlab.mesh.pilot.check import host_rules_problem
from meshlab.mesh.pilot.delegation import Delegation
from meshlab.mesh.pilot.world import Problem

__all__ = ["LEGACY", "TODAY", "Rulebook", "plural_of"]

Object = Mapping[str, Any]
Key = tuple[str, str]
Workloads = Callable[[], Iterable[tuple[str, Endpoint]]]
LEGACY = {"routerules": "route-rule", "egressrules": "egress-rule", "destinationpolicies": "destination-policy"}
#: The class of Gateways that is ours even before anybody has stored it.
CLASS = "istio"
#: Gateways of Kubernetes' API, as they are called here.
GATEWAYS = f"gateways.{GATEWAY_API}"
#: Hosts of today's rules that Envoy could not tell apart from others are no hosts.
_TROUBLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, RuleError)


def plural_of(kind: Kind) -> str:
    """By what Pilot and `/debug/inforce` call a kind: its plural, with the group where Istio has the same one."""
    if (kind.group, kind.kind) == (GATEWAY_API, "Gateway"):
        return f"{kind.plural}.{kind.group}"
    return kind.plural


def _today() -> dict[str, Kind]:
    wanted = (NETWORKING, TELEMETRY, GATEWAY_API)
    return {plural_of(kind): kind for (group, _), kind in kinds().items() if group in wanted}


#: Today's kinds that are kept here (not those of identity), by plural.
TODAY: Mapping[str, Kind] = _today()


@dataclass(frozen=True)
class Entry:
    """A stored object of today's API and what it means."""

    stored: Stored
    value: Any

    def says(self, obj: Object) -> bool:
        """Whether an object says the same, status and revision apart."""
        other = Stored.of(obj)
        mine = self.stored
        return (mine.spec, mine.labels, mine.annotations, mine.created) == (
            other.spec, other.labels, other.annotations, other.created
        )


class Rulebook:
    """Rules by kind and name. Not for several threads."""

    def __init__(self, domain: str = "cluster.local", readable: Callable[[str], bool] = bool) -> None:
        """`readable`: whether sidecars can read a file; one that is not there Envoy would refuse, with all else."""
        self._domain, self._readable = domain, readable
        self._legacy: dict[str, dict[Key, Config[Any]]] = {plural: {} for plural in LEGACY}
        self._today: dict[str, dict[Key, Entry]] = {plural: {} for plural in TODAY}
        self._invalid: dict[tuple[str, Key], Problem] = {}
        self._dirty: set[str] = set()
        self._judged = Judged()
        self._delegation = Delegation()
        self._routes: dict[str, HostRules] = {}
        self._policies: dict[str, HostTraffic] = {}
        self._egress: dict[str, ExternalService] = {}
        #: Problems of what is valid by itself, by plural.
        self._left_out: dict[str, list[Problem]] = {}
        self._problems: tuple[Problem, ...] = ()
        self.grants: tuple[Grant, ...] = ()
        #: What entries mean that name something that is not granted: the entry, that, and the meaning.
        self._cut: dict[tuple[str, Key], tuple[Entry, frozenset[Reference], Any]] = {}

    # Events

    def apply(self, plural: str, key: Key, obj: Object | None) -> bool:
        """Takes an object, None for one that is gone; whether anything changes by it."""
        kept: dict[Key, Any] = self._legacy[plural] if plural in LEGACY else self._today[plural]
        if obj is not None and isinstance(before := kept.get(key), Entry) and before.says(obj):
            return False  # only its status is new
        known = self._invalid.pop((plural, key), None) is not None
        known = kept.pop(key, None) is not None or known
        self._cut.pop((plural, key), None)
        if obj is not None:
            known = True
            try:
                made, reasons = self._read(plural, obj)
            except _TROUBLE as error:
                # Stored without anybody who would have refused it: whatever it is, Pilot must live with it.
                made, reasons = None, [str(error) or type(error).__name__]
            if made is None or reasons:
                kind = LEGACY.get(plural) or TODAY[plural].kind
                revision = str((obj.get("metadata") or {}).get("resourceVersion") or "")
                self._invalid[plural, key] = Problem(
                    f"{kind}/{key[0]}/{key[1]}", "invalid: " + "; ".join(reasons), revision
                )
            else:
                kept[key] = made
        if known:
            self._dirty.add(plural)
        return known

    def _read(self, plural: str, obj: Object) -> tuple[Any, list[str]]:
        if plural in LEGACY:
            config = config_from_object(obj, self._domain)
            return config, validate(LEGACY[plural], config.spec)
        kind = TODAY[plural]
        version = str(obj.get("apiVersion") or "").partition("/")[2] or kind.versions[0]
        full = {**obj, "kind": kind.kind, "apiVersion": f"{kind.group}/{version}"}
        if kind.kind == "GatewayClass":
            return Entry(Stored.of(full, self._domain), None), []
        if reasons := problems(full):
            return None, reasons
        stored = Stored.of(full, self._domain)
        if kind.kind == "Telemetry" and (stored.spec.get("targetRef") or stored.spec.get("targetRefs")):
            return None, ["targetRefs are for waypoints, of which there are none: it holds for no pod"]
        if plural == GATEWAYS:
            return Entry(stored, mesh_gateway(stored, Labels(dict([OUR_LABEL])))), []
        value = translate(stored)
        listed = value if isinstance(value, tuple) else (value,)
        rules = [each for each in listed if isinstance(each, HostRules)]
        reasons = [reason for each in rules if (reason := host_rules_problem(each))]
        if isinstance(value, HostTraffic):
            reasons += [f"there is no file {each}" for each in value.files if not self._readable(each)]
        return Entry(stored, value), reasons

    # What is in force

    @property
    def selects(self) -> bool:
        """Whether some service entry chooses its endpoints among pods and workload entries."""
        return any(e.stored.spec.get("workloadSelector") is not None for e in self._today["serviceentries"].values())

    @property
    def serves_gateway_api(self) -> bool:
        """Whether there is anything of Kubernetes' Gateway API."""
        return bool(self._today[GATEWAYS] or self._today["httproutes"])

    def entries(self, plural: str) -> list[Entry]:
        """By creation; of what was created within one second by name, then namespace, as istiod does it."""
        listed = self._today[plural].items()
        return [entry for _, entry in sorted(listed, key=lambda item: (item[1].stored.created, item[0][::-1]))]

    def changes(self, workloads: Workloads, *, everything: bool = False) -> dict[str, Any]:
        """The fields of a World that differ since the last call; `everything`: also if pods changed."""
        dirty, self._dirty = self._dirty, set()
        if not dirty and not everything:
            return {}
        found: dict[str, Any] = {}
        if "routerules" in dirty:
            self._routes, self._left_out["routerules"] = routes_by_host(
                self._legacy["routerules"].values(), self._routes, self._judged
            )
        if "destinationpolicies" in dirty:
            self._policies = policies_by_host(self._legacy["destinationpolicies"].values(), self._policies)
        if "egressrules" in dirty:
            self._egress, self._left_out["egressrules"] = egress_in_force(
                self._legacy["egressrules"].values(), self._egress
            )
        if "referencegrants" in dirty:
            self.grants = found["grants"] = tuple(entry.value for entry in self.entries("referencegrants"))
        combined = self._combined(workloads)
        found["rules"] = combined
        if "sidecars" in dirty:
            found["scopes"] = tuple(entry.value for entry in self.entries("sidecars"))
        if "telemetries" in dirty:
            found["telemetry"] = tuple(entry.value for entry in self.entries("telemetries"))
        if dirty & {"gateways", GATEWAYS, "gatewayclasses", "referencegrants"}:
            ours = [self.granted(GATEWAYS, e) for e in self.entries(GATEWAYS) if self.is_ours(e.stored)]
            found["gateways"] = (*(entry.value for entry in self.entries("gateways")), *ours)
        left_out = [each for listed in self._left_out.values() for each in listed]
        lost = [Problem(each.origin.key, each.reason, each.origin.revision) for each in combined.dropped]
        cut = [
            Problem(entry.stored.origin.key, "; ".join(each.refusal for each in sorted(refused)), entry.stored.revision)
            for entry, refused, _ in self._cut.values()
        ]
        found["problems"] = (*self._invalid.values(), *left_out, *lost, *cut)
        return found

    def granted(self, plural: str, entry: Entry) -> Any:
        """What an HTTPRoute or Gateway means without what it may not name."""
        key = (plural, (entry.stored.namespace, entry.stored.name))
        refused = refused_references(entry.stored, self.grants)
        before = self._cut.pop(key, None)
        if not refused:
            return entry.value
        if before is None or before[0] is not entry or before[1] != refused:
            made = (
                mesh_gateway(entry.stored, entry.value.selector, refused) if plural == GATEWAYS
                else host_rules(entry.stored, refused)
            )
            before = entry, refused, made
        self._cut[key] = before
        return before[2]

    def is_ours(self, gateway: Stored) -> bool:
        """Whether a Gateway of Kubernetes' API is of a class that we serve."""
        name = str(gateway.spec.get("gatewayClassName") or "")
        entry = next((e for (_, n), e in self._today["gatewayclasses"].items() if n == name), None)
        return name == CLASS if entry is None else entry.stored.spec.get("controllerName") == CONTROLLER

    def _combined(self, workloads: Workloads) -> Combined:
        services: list[ExternalService] = []
        elsewhere: list[tuple[str, Endpoint]] | None = None
        for entry in self.entries("serviceentries"):
            if entry.stored.spec.get("workloadSelector") is None:
                services.append(entry.value)
                continue
            if elsewhere is None:
                elsewhere = [each.value for each in self.entries("workloadentries")]
                elsewhere += workloads()
            services.append(external_service(entry.stored, elsewhere))
        routed, lost = self._delegation.rules((each.stored, each.value) for each in self.entries("virtualservices"))
        self._left_out["virtualservices"] = lost
        routed += merged(rules for entry in self.entries("httproutes") for rules in self.granted("httproutes", entry))
        return combine(
            route_rules=self._routes,
            virtual_services=routed,
            policies=self._policies,
            destination_rules=[entry.value for entry in self.entries("destinationrules")],
            egress_rules=self._egress.values(),
            service_entries=services,
        )
