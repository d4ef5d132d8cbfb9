"""statsd lines to Prometheus' text."""

from __future__ import annotations

import pytest

from meshlab.addons import statsd
from meshlab.addons.statsd import Exporter, load_mappings


def page(*packets: str, mapping: str = "") -> str:
    exporter = Exporter(load_mappings(mapping))
    for packet in packets:
        exporter.take(packet.encode())
    return exporter.page().decode()


@pytest.mark.parametrize(("packets", "line"), [
    (["envoy.cluster.in.8080.upstream_rq_total:3|c", "envoy.cluster.in.8080.upstream_rq_total:4|c"],
     "envoy_cluster_in_8080_upstream_rq_total 7"),
    (["envoy.server.live:1|g"], "envoy_server_live 1"),
    (["a:5|g", "a:+2|g", "a:-3|g"], "a 4"),
    (["a:1|c|@0.1"], "a 10"),
    (["a:1|c:2|c"], "a 3"),
    (["a:1|c\nb:2|c"], "b 2"),
    (["a:1|c|#code:200,to:b"], 'a{code="200",to="b"} 1'),
    (["1-x:1|c"], "_1_x 1"),
    ([f"t:{n}|ms" for n in range(1, 101)], 't{quantile="0.5"} 51'),
    ([f"t:{n}|ms" for n in range(1, 101)], "t_sum 5050"),
    (["t:1|h"], "t_count 1"),
    (["broken"], 'statsd_exporter_sample_errors_total{reason="malformed_line"} 1'),
    (["a:x|c"], 'statsd_exporter_sample_errors_total{reason="malformed_value"} 1'),
    (["a:1"], 'statsd_exporter_sample_errors_total{reason="malformed_component"} 1'),
    (["a:1|s"], 'statsd_exporter_sample_errors_total{reason="illegal_event"} 1'),
    (["a:-1|c"], 'statsd_exporter_events_total{type="illegal_negative_counter"} 1'),
    (["a:1|c", "a:1|g"], 'statsd_exporter_events_conflict_total{type="gauge"} 1'),
])
def test_packets_make_this_line(packets: list[str], line: str) -> None:
    assert line in page(*packets).splitlines()


def test_bytes_that_are_no_text_are_counted() -> None:
    exporter = Exporter()
    exporter.take(b"\xff\xfe:1|c")
    assert b"malformed_line" in exporter.page()


def test_a_mapping_renames_and_labels() -> None:
    text = """
mappings:
- match: envoy.cluster.*.upstream_rq_*
  name: upstream_requests
  help: Requests to a cluster
  labels: {cluster: $1, code: "${2}"}
- match: 'listener\\.(\\d+)\\.(.*)'
  match_type: regex
  name: listener_$2
"""
    shown = page("envoy.cluster.svcb.upstream_rq_200:2|c", "listener.80.total:1|c", "other:1|c", mapping=text)
    assert 'upstream_requests{cluster="svcb",code="200"} 2' in shown
    assert "# HELP upstream_requests Requests to a cluster" in shown
    assert "listener_total 1" in shown and "other 1" in shown
    assert "statsd_exporter_loaded_mappings 2" in shown


@pytest.mark.parametrize(("text", "why"), [
    ("[", "not YAML"), ("- a", "not a mapping"), ("mappings: [{match: a}]", "mapping 1 needs"),
    ("mappings: [{match: '(', name: a, match_type: regex}]", "invalid regex"),
])
def test_a_bad_mapping_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        load_mappings(text)


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statsd, "MAX_SERIES", 10)
    shown = page(*(f"m{n}:1|c" for n in range(12)))
    assert "statsd_exporter_events_dropped_total 2" in shown and "m11" not in shown


def test_what_sidecars_count_with_labels_is_left_to_prometheus() -> None:
    exporter = Exporter()
    before = exporter.page()
    exporter.take(b"envoy.istio.requests_total.reporter.source.destination_service.out.svcb|http|version=v0.2:1|c")
    assert b"istio" not in exporter.page() and b"sample_errors" not in exporter.page().replace(before, b"")
