"""The live service graph and the samplers, against a Prometheus that is a table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from meshlab.notebook.livegraph import Call, LiveGraph
from meshlab.notebook.samplers import quantiles, success

CLIENT, SVCA, SVCB = ("client.client", "unknown"), ("svca.default", "v0.1"), ("svcb.default", "v0.2")


class Source:
    """Answers whatever query holds one of these words with these rates; the longest word first."""

    def __init__(self, mixer: bool = True, **rates: list[tuple[dict[str, str], float]]) -> None:
        self.engine = SimpleNamespace(can=lambda capability: mixer, scrape=1.0 if mixer else 5.0)
        self.rates, self.asked = rates, list[str]()
        self.prometheus = self
        self.applied: list[str] = []

    def vector(self, promql: str) -> list[tuple[dict[str, str], float]]:
        self.asked.append(promql)
        for word in sorted(self.rates, key=len, reverse=True):
            if all(part in promql for part in word.split("__")):
                return self.rates[word]
        return []

    def apply(self, text: str) -> Any:
        self.applied.append(text)
        return SimpleNamespace()


def edge(source: tuple[str, str], target: tuple[str, str]) -> dict[str, str]:
    return {
        "source_service": f"{source[0]}.svc.cluster.local",
        "source_version": source[1],
        "destination_service": f"{target[0]}.svc.cluster.local",
        "destination_version": target[1],
    }


def graph(locks: bool = False, mixer: bool = True) -> tuple[LiveGraph, Source]:
    source = Source(
        mixer,
        istio_request_count=[(edge(CLIENT, SVCA), 20.0), (edge(SVCA, SVCB), 10.0)],
        istio_request_count__response_code=[(edge(SVCA, SVCB), 2.5)],
        istio_request_identity_count=[(edge(SVCA, SVCB), 10.0)],
        istio_request_count__mutual_tls=[(edge(CLIENT, SVCA), 20.0)],
        istio_tcp_bytes_received=[(edge(SVCB, CLIENT), 512.0)],
    )
    return LiveGraph(source, locks=locks), source  # type: ignore[arg-type]


def test_edges_carry_rates_failures_bytes_and_locks() -> None:
    live, source = graph(locks=True)
    assert live.take() == {
        ("client (unknown)", "svca (v0.1)"): Call(20.0),
        ("svca (v0.1)", "svcb (v0.2)"): Call(10.0, failing=0.25, locked=True),
        ("svcb (v0.2)", "client (unknown)"): Call(512.0, "B/s"),
    }
    assert "requestidentity" in source.applied[0]
    picture = live._picture.value
    assert picture.count("<title>mutual TLS</title>") == 1 and "LOCK" not in picture
    assert "25% fail" in picture and "#b3261e" in picture
    assert 'aria-label="client (unknown) → svca (v0.1): 20 req/s' in picture


def test_without_locks_nothing_is_stored_and_nobody_asks_for_identities() -> None:
    live, source = graph()
    live.take()
    assert not source.applied and not any("identity" in asked for asked in source.asked)
    assert not any(call.locked for call in live.calls.values())


def test_where_no_mixer_is_the_sidecars_own_count_says_who_proved_themselves() -> None:
    live, source = graph(locks=True, mixer=False)
    assert [edge for edge, call in live.take().items() if call.locked] == [("client (unknown)", "svca (v0.1)")]
    assert not source.applied


def test_a_graph_without_calls_says_so() -> None:
    live = LiveGraph(Source())  # type: ignore[arg-type]
    live.take()
    assert str(live) == "no calls now" and "start some traffic" in live._picture.value


def test_quantiles_are_milliseconds_and_named_by_their_share() -> None:
    lab: Any = Source(histogram_quantile__0=[({}, 0.0042)])
    assert quantiles(lab, "svca", (0.5, 0.999))() == pytest.approx({"p50": 4.2, "p99.9": 4.2})
    assert 'destination_service="svca.default.svc.cluster.local"' in lab.asked[0]


def test_success_is_a_share_by_service() -> None:
    answer = [({"destination_service": "svcb.default.svc.cluster.local"}, 0.75)]
    assert success(Source(istio_request_count=answer), "svca", "svcb")() == {"svcb": 0.75}  # type: ignore[arg-type]
