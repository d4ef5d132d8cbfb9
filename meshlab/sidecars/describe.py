"""A line of an access log beside the tables that the proxy had: what took the request, what did not, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlab.phrases import tr
from meshlab.sidecars.accesslog import Line
from meshlab.sidecars.counters import Reading
from meshlab.sidecars.dump import ClusterName, ConfigDump
from meshlab.sidecars.explanation import Fact, Outcome
from meshlab.sidecars.flags import detail_meaning, flag_meanings
from meshlab.sidecars.matching import Asked, Fit, find_host, find_listener, http_manager, route_name, tried
from meshlab.sidecars.names import Names

__all__ = ["NOTHING", "UNRULED", "Known", "Taken", "describe", "outcome_of", "rule_of"]

Fields = dict[str, Any]
#: Names that routes have which no rule made.
UNRULED = ("", "-", "default", "default-route", "allow_any", "block_all")
FAULT, RBAC = "envoy.filters.http.fault", "rbac_access_denied"
#: With what the names begin by which sidecars ask for each other.
MESH_SNI = "outbound_."
#: A flag that goes with any outcome.
DELAYED = "DI"


@dataclass(frozen=True)
class Known:
    """Headers of a request (in lower case) beyond what a line holds; `complete`: it has no others."""

    headers: Mapping[str, str]
    complete: bool = False


#: Of calls that a program made.
NOTHING = Known({})


@dataclass(frozen=True)
class Taken:
    """What the tables say of a line: facts, the rule's name, the route itself (None if it cannot be told)."""

    facts: tuple[Fact, ...]
    rule: str = ""
    route: Fields | None = None


def outcome_of(line: Line) -> Outcome:
    """Without an endpoint it ended here; with one, a flag says that it went wrong behind."""
    if not line.upstream:
        return Outcome.ENDED
    serious = [each for each in line.flags.split(",") if each not in ("", DELAYED)]
    return Outcome.FAILED if serious else Outcome.PASSED


def rule_of(route: Mapping[str, Any]) -> str:
    """Which rule made a route: as istiod's metadata or as its name says; "" for those that no rule made."""
    fields = ((route.get("metadata") or {}).get("filter_metadata") or {}).get("istio") or {}
    path = str(fields.get("config") or "").split("/")
    if len(path) == 8:
        return f"{path[7]}.{path[5]}"
    name = route_name(route)
    return "" if name in UNRULED else name


def describe(line: Line, dump: ConfigDump, reading: Reading, known: Known, names: Names) -> Taken:
    """What the tables that a proxy has now say of what it logged."""
    facts: list[Fact] = []
    listener = find_listener(dump, line.local)
    manager = http_manager(listener) if listener else None
    if listener is None:
        facts.append(Fact("listener", tr("none is for {address} in the tables as they are now", address=line.local)))
    elif line.http and manager is None:
        facts.append(
            Fact(
                "listener",
                tr(
                    "one that is there no more; {name} has its place, and an open connection stays with what took it",
                    name=listener.get("name"),
                ),
            )
        )
    else:
        name = listener.get("name") or line.local
        facts.append(Fact("listener", tr("{name} took the connection to {address}", name=name, address=line.local)))
    if line.sni:
        how = tr("mutual TLS between sidecars") if line.sni.startswith(MESH_SNI) else "TLS"
        facts.append(Fact("TLS", tr("{how}, asked for as {name}", how=how, name=line.sni)))
    route, rule = None, ""
    if manager is not None:
        table = manager.get("route_config") or dump.route_table(
            str((manager.get("rds") or {}).get("route_config_name"))
        )
        if table is not None:
            said, route = _routed(line, table, known)
            facts += said
            rule = rule_of(route) if route is not None else ""
    if route is not None:
        facts += _actions(route)
    facts += _destination(line, route, dump, reading, names)
    facts += _answer(line)
    if line.details.startswith(RBAC):
        rule = _policy(line.details) or rule
    return Taken(tuple(facts), rule, route)


def _policy(details: str) -> str:
    """The policy in `rbac_access_denied_matched_policy[ns[default]-policy[deny]-rule[0]]`, "" if none matched."""
    found = details.partition("policy[")[2]
    if "ns[" in details and "-policy[" in details:
        namespace = details.partition("ns[")[2].partition("]")[0]
        return details.partition("-policy[")[2].partition("]")[0] + "." + namespace
    name = found.partition("]")[0]
    return "" if name in ("", "none") else name


def _routed(line: Line, table: Fields, known: Known) -> tuple[list[Fact], Fields | None]:
    """The virtual host, the routes before the one that took it, and that one."""
    asked = Asked(line.authority, line.path, line.method, known.headers, known.complete)
    host = find_host(table, line.authority)
    hosts = table.get("virtual_hosts") or ()
    if host is None:
        return [
            Fact(
                "host",
                tr(
                    "none of the {count} virtual hosts of table {table} answers to {host}",
                    count=len(hosts),
                    table=table.get("name"),
                    host=line.authority,
                ),
            )
        ], None
    answering = {"name": host.get("name"), "table": table.get("name"), "host": line.authority}
    facts = [Fact("host", tr("{name}, in table {table}, answers to {host}", **answering))]
    routes = list(host.get("routes") or ())
    named = [each for each in routes if _logged(each, line)]
    if len(named) > 1:  # several routes of one rule are called alike
        named = [each for each in named if tried({"routes": [each]}, asked)[0].fit is not Fit.NO] or named
    took = named[0] if named else None
    verdicts = tried({"routes": routes[: routes.index(took)] if took is not None else routes}, asked)
    if took is None and verdicts and verdicts[-1].fit is Fit.YES and not line.route:
        took = verdicts.pop().route
    for number, each in enumerate(verdicts, 1):
        name = route_name(each.route) or tr("route {number}", number=number)
        why = each.why
        if took is not None and each.fit is Fit.OPEN:
            why = tr("{why}; Envoy passed it by", why=why)
        elif took is not None and each.fit is Fit.YES:
            why = tr("fits by the table as it is now, and Envoy took a later one: the table has changed since")
        facts.append(Fact("passed by", f"{name}: {why or tr(each.fit.value)}"))
    if took is None:
        if line.route:
            lost = tr("Envoy names {route}, which the table has no more", route=line.route)
        else:
            lost = tr("none of its routes fits")
        return [*facts, Fact("route", lost)], None
    name = route_name(took) or tr("without a name")
    if len(named) > 1 and tried({"routes": [took]}, asked)[0].fit is Fit.OPEN:
        name = tr(
            "{name}, the first of {count} that it may have been: no log holds what they ask for",
            name=name,
            count=len(named),
        )
    return [*facts, Fact("route", name)], took


def _logged(route: Fields, line: Line) -> bool:
    """Whether this is the route that the line names."""
    if not line.route or route_name(route) != line.route:
        return False
    return not line.cluster or line.cluster in _weights(route)


def _weights(route: Fields) -> dict[str, int]:
    """Clusters of a route with their weights; a single one has 100."""
    action = route.get("route") or {}
    if action.get("cluster"):
        return {str(action["cluster"]): 100}
    listed = (action.get("weighted_clusters") or {}).get("clusters") or ()
    return {str(each.get("name")): int(each.get("weight") or 0) for each in listed}


def _actions(route: Fields) -> Iterator[Fact]:
    if route_name(route) == "block_all":
        yield Fact("because", tr("no service and no rule has that name, and the mesh lets nothing else out"))
    fault = (route.get("typed_per_filter_config") or {}).get(FAULT) or {}
    if delay := fault.get("delay"):
        share, seconds = _percent(delay.get("percentage")), delay.get("fixed_delay", "?")
        yield Fact("fault", tr("delays {share} by {seconds}", share=share, seconds=seconds))
    if abort := fault.get("abort"):
        share, status = _percent(abort.get("percentage")), abort.get("http_status", "?")
        yield Fact("fault", tr("answers {share} with {status}", share=share, status=status))
    action = route.get("route") or {}
    if (timeout := str(action.get("timeout") or "")) not in ("", "0s"):
        yield Fact("timeout", timeout)
    if retries := action.get("retry_policy"):
        said = tr("up to {count} on {what}", count=retries.get("num_retries", 1), what=retries.get("retry_on", ""))
        if retries.get("per_try_timeout"):
            said = tr("{retries}, {seconds} for each attempt", retries=said, seconds=retries["per_try_timeout"])
        yield Fact("retries", said)
    for mirror in action.get("request_mirror_policies") or ():
        share = _percent((mirror.get("runtime_fraction") or {}).get("default_value") or None)
        yield Fact("copies", tr("{share} to {cluster}", share=share, cluster=mirror.get("cluster")))


def _percent(share: Mapping[str, Any] | None) -> str:
    """A `FractionalPercent` as text; none is all."""
    if share is None:
        return tr("all requests")
    whole = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}[str(share.get("denominator") or "HUNDRED")]
    return tr("{percent:g} % of the requests", percent=100 * int(share.get("numerator") or 0) / whole)


def _destination(line: Line, route: Fields | None, dump: ConfigDump, reading: Reading, names: Names) -> Iterator[Fact]:
    if not line.cluster:
        return
    weights = _weights(route) if route is not None else {}
    chosen = line.cluster
    if len(weights) > 1 and line.cluster in weights:
        others = [(name, weight) for name, weight in weights.items() if name != line.cluster]
        chosen = tr(
            "{cluster}, by its weight {weight} ({others})",
            cluster=chosen,
            weight=weights[line.cluster],
            others=", ".join(tr("{weight} to {cluster}", weight=weight, cluster=name) for name, weight in others),
        )
    name = ClusterName.of(line.cluster)
    if name.subset:
        chosen = tr("{cluster}; subset {subset}", cluster=chosen, subset=name.subset)
    yield Fact("cluster", chosen)
    known = reading.endpoints(line.cluster)
    ejected = [each for each in known if reading.hosts[line.cluster, each].get("ejected")]
    if line.upstream:
        shown = names.of(line.upstream)
        many = tr("{which}, 1 of {count}", which=shown, count=len(known))
        yield Fact("endpoint", many if len(known) > 1 else shown)
    elif name.direction != "inbound":
        yield Fact("endpoint", tr("none was chosen; the cluster has {count}", count=len(known)))
    for each in ejected:
        yield Fact("ejected", tr("{which}: outlier detection keeps it out just now", which=names.of(each)))
    if "UO" in line.flags.split(","):
        limits = ((dump.cluster(line.cluster) or {}).get("circuit_breakers") or {}).get("thresholds") or [{}]
        said = ", ".join(f"{key} {value}" for key, value in limits[0].items() if key != "priority")
        yield Fact("limits", said or tr("Envoy's defaults: 1024 connections, requests and pending requests, 3 retries"))


def _answer(line: Line) -> Iterator[Fact]:
    answer = tr("{code} after {ms:g} ms", code=line.code or tr("none"), ms=line.ms)
    if line.upstream_ms is not None:
        answer = tr("{answer}, of which {ms} ms behind", answer=answer, ms=line.upstream_ms)
    yield Fact("answer", answer)
    for flag, meaning in flag_meanings(line.flags):
        yield Fact("flag", f"{flag}: {meaning}")
    if line.details not in ("", "via_upstream"):
        meaning = detail_meaning(line.details)
        yield Fact("because", f"{meaning} ({line.details})" if meaning else line.details)
    if line.failure:
        yield Fact("because", line.failure.replace("_", " "))
