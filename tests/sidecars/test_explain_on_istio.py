"""What a real Istio's sidecars write, in its own names: explained by the same code. No istiod runs here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest

from meshlab.kube import Kube, Raw, Target
from meshlab.sidecars.explain import explain
from meshlab.sidecars.explanation import Explanation, Outcome, Place
from meshlab.sidecars.house import house, in_words
from meshlab.sidecars.order import Order
from meshlab.sidecars.sidecars import Pod, Sidecars

ANY = "0.0.0.0"  # noqa: S104 - as Envoy writes it
AT = "type.googleapis.com/envoy."
SVCB = "svcb.default.svc.cluster.local"
ID = "0f0f0f0f-1111-2222-3333-444444444444"
CLIENT, SVCA, V1, V2 = "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"
V1_OUT, ALL_OUT = f"outbound|80|v1|{SVCB}", f"outbound|80||{SVCB}"
RULE = {
    "filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/svcb"}}
}
PODS = (
    Pod("client", "client-1", CLIENT, {"app": "client"}, "", ("client",)),
    Pod("default", "svca-1", SVCA, {"app": "svca", "version": "v1"}, "istio-proxy", ("svca",)),
    Pod("default", "svcb-1", V1, {"app": "svcb", "version": "v1"}, "istio-proxy", ("svcb",)),
    Pod("default", "svcb-2", V2, {"app": "svcb", "version": "v2"}, "istio-proxy", ("svcb",)),
)


def service(namespace: str, name: str, address: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": address, "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
    }


class Api(Kube):
    """An API server that has the services, and a client that was answered."""

    def __init__(self, status: int) -> None:
        super().__init__("http://nowhere.invalid")
        self._status = status

    def list(self, target: Target, **_: Any) -> dict[str, Any]:
        return {
            "items": [
                service("client", "client", "10.96.0.2"),
                service("default", "svca", "10.96.0.3"),
                service("default", "svcb", "10.96.0.4"),
            ]
        }

    def raw(self, method: str, path: str, *_: Any, **__: Any) -> Raw:
        answer = {"status": self._status, "headers": {}, "body": "", "ms": 9.0, "error": ""}
        return Raw(200, {}, json.dumps({"answers": [answer]} if method == "POST" else {}).encode())


def http_listener(address: str, port: int, table: str) -> dict[str, Any]:
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {"rds": {"route_config_name": table}},
    }
    return {
        "active_state": {
            "listener": {
                "name": f"{address}_{port}",
                "address": {"socket_address": {"address": address, "port_value": port}},
                "filter_chains": [{"filters": [manager]}],
            }
        }
    }


def table(name: str, *hosts: dict[str, Any]) -> dict[str, Any]:
    return {"route_config": {"name": name, "virtual_hosts": list(hosts)}}


DUMP = {
    "configs": [
        {
            "@type": f"{AT}admin.v3.ListenersConfigDump",
            "dynamic_listeners": [
                http_listener(ANY, 80, "80"),
                http_listener(ANY, 15006, "inbound|8080||"),
            ],
        },
        {
            "@type": f"{AT}admin.v3.RoutesConfigDump",
            "dynamic_route_configs": [
                table(
                    "80",
                    {
                        "name": f"{SVCB}:80",
                        "domains": [SVCB, "svcb"],
                        "routes": [
                            {
                                "match": {
                                    "prefix": "/",
                                    "headers": [{"name": "x-tester", "string_match": {"exact": "yes"}}],
                                },
                                "metadata": RULE,
                                "route": {"cluster": f"outbound|80|v2|{SVCB}"},
                            },
                            {"match": {"prefix": "/"}, "metadata": RULE, "route": {"cluster": V1_OUT}},
                        ],
                    },
                    {
                        "name": "block_all",
                        "domains": ["*"],
                        "routes": [{"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}],
                    },
                ),
            ],
        },
    ]
}


def host(address: str) -> dict[str, Any]:
    return {
        "address": {"socket_address": {"address": address, "port_value": 8080}},
        "stats": [{"name": "cx_total", "value": "1"}],
        "health_status": {"eds_health_status": "HEALTHY"},
    }


CLUSTERS = {
    "cluster_statuses": [
        {"name": V1_OUT, "host_statuses": [host(V1)]},
        {"name": ALL_OUT, "host_statuses": [host(V1), host(V2)]},
    ]
}


def line(
    at: float,
    code: int,
    flags: str,
    number: str,
    authority: str,
    upstream: str,
    cluster: str,
    local: str,
    *,
    ms: int = 4,
    details: str = "via_upstream",
    route: str = "-",
    request: str = "GET /notify HTTP/1.1",
) -> tuple[float, str]:
    return at, (
        f'"{request}" {code} {flags} {details} - "-" 0 0 {ms} {ms} "-" "curl" "{number}" "{authority}" "{upstream}" '
        f"{cluster} - {local} 10.0.0.99:1 - {route}"
    )


class Recorded(Sidecars):
    """Proxies whose answers are known. Lines are written some milliseconds after the logs are first asked for."""

    def __init__(self, status: int, logs: Mapping[str, list[tuple[float, str]]]) -> None:
        super().__init__(Api(status))
        self._logs, self._now = logs, datetime.now(UTC) + timedelta(seconds=1)

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        return PODS

    def admin(self, pod: Pod, path: str, method: str = "GET") -> str:
        if path.startswith("config_dump"):
            return json.dumps(DUMP)
        return json.dumps(CLUSTERS) if path.startswith("clusters") else ""

    def log(self, pod: Pod, *, seconds: int) -> str:
        return "".join(
            f"[{(self._now + timedelta(milliseconds=at)).isoformat(timespec='milliseconds')}] {text}\n"
            for at, text in self._logs.get(pod.name, ())
        )


def explained(status: int, **logs: list[tuple[float, str]]) -> Explanation:
    order = Order("http://svca/pay", headers={}, request_id=ID)
    return explain(Recorded(status, {name.replace("_", "-"): value for name, value in logs.items()}), order)


ENTRY = line(0, 200, "-", ID, "svca", "10.0.0.3:8080", "inbound|8080||", f"{SVCA}:8080", ms=8, route="default")


def test_a_request_is_followed_by_istiods_names() -> None:
    other = "aaaaaaaa-1111-2222-3333-444444444444"
    found = explained(
        200,
        svca_1=[ENTRY, line(1, 200, "-", other, "svcb", f"{V1}:8080", V1_OUT, "10.96.0.4:80", ms=6)],
        svcb_1=[line(2, 200, "-", other, "svcb", f"{V1}:8080", "inbound|8080||", f"{V1}:8080")],
    )
    assert [(hop.app, hop.place) for hop in found.hops] == [
        ("client", Place.CALLER),
        ("svca", Place.INBOUND),
        ("svca", Place.PROGRAM),
        ("svca", Place.OUTBOUND),
        ("svcb", Place.INBOUND),
        ("svcb", Place.PROGRAM),
    ], str(found)
    called = found.find("svca", Place.OUTBOUND)[0]
    assert (called.rule, found.unknown) == ("svcb.default", ())
    # istiod gives routes no name: the tables say which one leads to that cluster.
    assert called.facts_of("passed by") == [
        "route 1: it wants x-tester = yes, and no log says whether the request had it; Envoy passed it by"
    ]
    assert "subset v1" in called.fact("cluster")
    assert "led by svcb.default" in found.verdict


def test_an_id_that_is_passed_on_is_better_than_time() -> None:
    rival = line(0, 200, "-", "bbbb", "svca", "10.0.0.3:8080", "inbound|8080||", f"{SVCA}:8080", ms=9)
    found = explained(
        200,
        svca_1=[ENTRY, rival, line(1, 200, "-", ID, "svcb", f"{V1}:8080", V1_OUT, "10.96.0.4:80", ms=6)],
        svcb_1=[line(2, 200, "-", ID, "svcb", f"{V1}:8080", "inbound|8080||", f"{V1}:8080")],
    )
    assert "known by x-request-id" in found.find("svca", Place.PROGRAM)[0].fact("its calls")
    assert len(found.find("svcb", Place.INBOUND)) == 1


@pytest.mark.parametrize(
    ("blocked", "said"),
    [
        (
            line(1, 0, "UH", "-", "-", "-", "BlackHoleCluster", "192.0.2.7:9997", details="-", request="- - -"),
            "none takes a connection to 192.0.2.7:9997",
        ),
        (
            line(
                1,
                502,
                "-",
                "cccc",
                "outside.example",
                "-",
                "-",
                "192.0.2.7:80",
                details="direct_response",
                route="block_all",
            ),
            "0.0.0.0_80 took the connection to 192.0.2.7:80",
        ),
    ],
)
def test_blocked_egress_has_a_line_of_its_own_there(blocked: tuple[float, str], said: str) -> None:
    found = explained(200, svca_1=[ENTRY, blocked])
    hop = found.find("svca", Place.OUTBOUND)[0]
    assert hop.outcome is Outcome.ENDED and said in hop.fact("listener"), str(found)
    assert hop.fact("because").startswith("no service and no rule has that")


def test_a_reader_of_chinese_gets_no_english_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "aaaaaaaa-1111-2222-3333-444444444444"
    logs = {
        "svca_1": [ENTRY, line(1, 503, "UF,URX", other, "svcb", f"{V1}:8080", V1_OUT, "10.96.0.4:80", ms=6)],
        "svcb_1": [line(2, 200, "-", other, "svcb", f"{V1}:8080", "inbound|8080||", f"{V1}:8080")],
    }
    english = str(explained(200, **logs))
    monkeypatch.setenv("MESHLAB_LANGUAGE", "zh")
    found = explained(200, **logs)
    words = re.compile(r"\b[a-z]{2,} (?:[a-z]+ )+[a-z]{2,}\b")  # three words of English in a row
    assert words.search(english) and "not known" not in str(found)
    told = [found.verdict, *found.unknown, *(fact.text for hop in found.hops for fact in hop.facts)]
    assert [text for text in told if words.search(text)] == []
    assert "sidecar，出口" in str(found) and "监听器" in str(found)
    assert "出口" in house(found) and words.search(in_words(found)) is None


def test_what_no_sidecar_wrote_down_is_said_to_be_missing() -> None:
    found = explained(
        200, svca_1=[ENTRY, line(1, 200, "-", "dddd", "svcb", f"{V1}:8080", V1_OUT, "10.96.0.4:80", ms=6)]
    )
    assert found.find("svcb", Place.INBOUND)[0].outcome is Outcome.UNKNOWN
    assert found.unknown == ("svcb-1.default was called, and its sidecar wrote no line about it",)
    assert "not every station is known" in found.verdict


def test_without_access_logs_nothing_is_made_up() -> None:
    found = explained(200)
    assert [hop.place for hop in found.hops] == [Place.CALLER, Place.OUTSIDE]
    assert "no sidecar of svca wrote a line" in found.unknown[0]
