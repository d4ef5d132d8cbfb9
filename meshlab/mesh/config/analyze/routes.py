"""Checks of routing: rules that can never match, weights that hide a version, rules that fight over a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meshlab.mesh.config import legacy as translation
from meshlab.mesh.config.analyze.messages import Message, message
from meshlab.mesh.config.analyze.scene import Scene
from meshlab.mesh.config.analyze.subject import Path, Subject
from meshlab.mesh.config.egress import without_conflicts
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.order import destination_of, sort_route_rules
from meshlab.mesh.config.routing import (
    ANY_PATH,
    MESH,
    Caller,
    Condition,
    Destination,
    HostRules,
    Pattern,
    PatternKind,
    RequestMatch,
    Route,
    Source,
)
from meshlab.mesh.config.traffic import HostTraffic, TrafficRules

__all__ = ["conflicts", "hidden_versions", "host_conflicts", "idle_policies", "unreachable"]


@dataclass(frozen=True)
class Line:
    """One route and where it stands; `number` of the block in its VirtualService, `match` in that block."""

    route: Route
    subject: Subject
    path: Path
    number: int = 0
    match: int = 0


def _pattern_covers(wide: Pattern, narrow: Pattern) -> bool:
    if wide == narrow or wide.kind is PatternKind.PRESENT:
        return True
    if wide.kind in (PatternKind.PREFIX, PatternKind.SEGMENTS):
        if narrow.kind is PatternKind.REGEX or (wide.ignore_case != narrow.ignore_case):
            return False
        if wide.kind is PatternKind.SEGMENTS:
            return narrow.value == wide.value or narrow.value.startswith(wide.value.rstrip("/") + "/")
        return narrow.value.startswith(wide.value)
    return False


def covers(wide: RequestMatch, narrow: RequestMatch) -> bool:
    """Whether every request that matches `narrow` matches `wide`, as far as can be told by looking."""
    if wide.source is not None and not _source_covers(wide.source, narrow.source):
        return False
    if wide.port not in (0, narrow.port):
        return False
    if wide.gateways and not set(narrow.gateways or (MESH,)) <= set(wide.gateways):
        return False
    if wide.path != ANY_PATH and not _pattern_covers(wide.path, narrow.path):
        return False
    for mine, theirs in ((wide.headers, narrow.headers), (wide.query, narrow.query)):
        for each in mine:
            if not any(_condition_covers(each, other) for other in theirs):
                return False
    return True


def _condition_covers(wide: Condition, narrow: Condition) -> bool:
    if wide.name != narrow.name or wide.inverted != narrow.inverted:
        return False
    return wide.pattern == narrow.pattern or (not wide.inverted and _pattern_covers(wide.pattern, narrow.pattern))


def _source_covers(wide: Source, narrow: Source | None) -> bool:
    if narrow is None or wide.service != narrow.service:
        return False
    return wide.namespace in ("", narrow.namespace) and wide.labels.subset_of(narrow.labels)


def _by_host(scene: Scene) -> dict[str, list[Line]]:
    """Routes of v1alpha2 by host, in order."""
    rules = {each.config.key: each for each in scene.rules("route-rule")}
    hosts: dict[str, list[Line]] = {}
    for config in sort_route_rules(each.config for each in rules.values()):
        made = translation.route(config)
        hosts.setdefault(destination_of(config), []).append(Line(made, rules[config.key].subject, ("spec", "match")))
    return hosts


def _virtual(scene: Scene) -> Iterator[tuple[HostRules, Subject, list[Line]]]:
    for each in scene.objects("VirtualService"):
        lines, routes = [], iter(each.value.routes)
        for number, block in enumerate(each.stored.spec.get("http") or ()):
            if block.get("delegate"):
                continue
            for match in range(max(1, len(block.get("match") or ()))):
                path: Path = ("spec", "http", number, "match", match)
                lines.append(Line(next(routes), each.subject, path, number, match))
        yield each.value, each.subject, lines


def unreachable(scene: Scene) -> Iterator[Message]:
    """Rules after one that takes all their requests."""
    for host, lines in _by_host(scene).items():
        for position, line in enumerate(lines):
            earlier = next((e for e in lines[:position] if covers(e.route.match, line.route.match)), None)
            if earlier is not None:
                text = (
                    f"RouteRule rule {line.route.name} not used "
                    f"({earlier.route.name} comes before it for {host} and takes all its requests)."
                )
                yield message("IST0130", line.subject, text, "spec", "precedence")
    for _, about, lines in _virtual(scene):
        for position, line in enumerate(lines):
            earlier = next((e for e in lines[:position] if covers(e.route.match, line.route.match)), None)
            if earlier is None:
                continue
            block = [each for each in lines if each.number == line.number]
            if len(block) == 1:
                why = (
                    "only the last rule can have no matches"
                    if earlier.route.match.catches_all
                    else (f"rule #{earlier.number} takes all its requests")
                )
                yield message("IST0130", about, f"VirtualService rule #{line.number} not used ({why}).", *line.path)
            else:
                text = (
                    f"VirtualService rule #{line.number} match #{line.match} is not used "
                    f"(duplicate/overlapping match in rule #{earlier.number})."
                )
                yield message("IST0131", about, text, *line.path)


def hidden_versions(scene: Scene) -> Iterator[Message]:
    """Versions with pods to which the routes of their service send nothing."""
    traffic = TrafficRules(
        each.value for each in scene.objects("DestinationRule") if isinstance(each.value, HostTraffic)
    )
    for host, lines in _by_host(scene).items():
        yield from _hidden(scene, host, lines, traffic, falls_through=True)
    for rules, _, lines in _virtual(scene):
        for host in rules.hosts if MESH in rules.gateways else ():
            yield from _hidden(scene, host, lines, traffic, falls_through=False)


def _hidden(
    scene: Scene, host: str, lines: list[Line], traffic: TrafficRules, *, falls_through: bool
) -> Iterator[Message]:
    reached: set[Labels] = set()
    last = next((line for line in lines if line.route.match.catches_all and line.route.match.source is None), None)
    if last is None and falls_through:
        return  # what no rule matches goes to all versions
    for line in lines:
        for each in line.route.destinations:
            destination = each.destination
            if destination.host != host or (not each.weight and len(line.route.destinations) > 1):
                continue
            labels = traffic.labels_of(Destination(host, destination.labels, destination.subset), Caller())
            if labels is not None:
                reached.add(labels)
        if line is last:
            break
    if not reached or Labels() in reached:
        return
    about = last or lines[-1]
    pods: dict[str, int] = {}
    for workload in scene.pods(host):
        if not any(labels.subset_of(workload.labels) for labels in reached):
            version = workload.labels.get("version", "")
            name = f"version={version}" if version else str(workload.labels)
            pods[name] = pods.get(name, 0) + workload.count
    path: Path = ("spec", "route") if about.subject.kind == "RouteRule" else ("spec", "http", about.number, "route")
    for name, count in sorted(pods.items()):
        plural = "pod" if count == 1 else "pods"
        text = f"The weights hide {name} of {host}: {count} {plural} of it get no requests."
        yield message("ML0001", about.subject, text, *path)


def conflicts(scene: Scene) -> Iterator[Message]:
    """Egress rules of which one is dropped."""
    rules = {each.config.key: each for each in scene.rules("egress-rule")}
    _, lost = without_conflicts({key: each.config.spec for key, each in rules.items()})
    for each in lost:
        about = rules[each.rule].subject
        part = "destination" if "on domain" in each.message else "ports"
        yield message("ML0002", about, f"Egress conflict: {each.message}.", "spec", part)
    entries: dict[str, Subject] = {}
    for entry in scene.objects("ServiceEntry"):
        for number, host in enumerate(entry.stored.spec.get("hosts") or ()):
            first = entries.setdefault(host, entry.subject)
            if first is not entry.subject and not entry.stored.spec.get("exportTo"):
                text = f"Egress conflict: {first.namespace}/{first.name} already speaks for {host}."
                yield message("ML0002", entry.subject, text, "spec", "hosts", number)


def host_conflicts(scene: Scene) -> Iterator[Message]:
    """Several virtual services for a host, and rules of both generations."""
    seen: dict[str, list[tuple[HostRules, Subject]]] = {}
    for rules, about, _ in _virtual(scene):
        if MESH in rules.gateways:
            for host in rules.hosts:
                seen.setdefault(host, []).append((rules, about))
    owners = {host: [about for rules, about in listed if not rules.visible_in] for host, listed in seen.items()}
    for host, rivals in seen.items():
        listed = [about for rules, about in rivals if any(_seen_by_both(rules, o) for o, _ in rivals if o is not rules)]
        if listed:
            names = ",".join(sorted(f"{each.namespace}/{each.name}" for each in listed))
            text = (
                f"The VirtualServices {names} associated with mesh gateway define the same host {host} which can lead "
                "to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single "
                "resource."
            )
            for each in listed:
                yield message("IST0109", each, text, "spec", "hosts")
    for host, lines in _by_host(scene).items():
        for line in lines if owners.get(host) else ():
            winner = owners[host][0]
            text = f"VirtualService {winner.namespace}/{winner.name} routes {host}: this rule is not in force."
            yield message("ML0003", line.subject, text, "spec", "destination")


def _seen_by_both(one: HostRules, other: HostRules) -> bool:
    """Whether some namespace sees both."""
    return not one.visible_in or not other.visible_in or bool(set(one.visible_in) & set(other.visible_in))


def idle_policies(scene: Scene) -> Iterator[Message]:
    """Policies of v1alpha2 for versions that no rule names, or for no version while every rule names one."""
    hosts = _by_host(scene)
    for each in scene.rules("destination-policy"):
        made = translation.policy(each.config)
        if made.host not in scene.services:
            continue
        lines = hosts.get(made.host, [])
        named = {
            weighted.destination.labels
            for line in lines
            for weighted in line.route.destinations
            if weighted.destination.host == made.host
        }
        caught = any(line.route.match.catches_all and line.route.match.source is None for line in lines)
        if made.labels and made.labels not in named:
            text = f"No RouteRule names {made.labels} of {made.host}: a policy needs exactly a route's labels."
            yield message("ML0004", each.subject, text, "spec", "destination", "labels")
        elif not made.labels and lines and caught and Labels() not in named:
            text = f"Every request for {made.host} goes to a named version: a policy without labels reaches none."
            yield message("ML0004", each.subject, text, "spec", "destination")
