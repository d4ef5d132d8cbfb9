"""Lines of access logs: of istiod's sidecars, of Envoy's own format, of ours, and others that are none."""

from __future__ import annotations

import json

import pytest

from meshlab.sidecars.accesslog import Line, Refusal, parse, same_request
from meshlab.sidecars.dump import ClusterName
from meshlab.sidecars.flags import detail_meaning, flag_meanings

ISTIO_LINE = (
    '[2026-01-02T15:41:50.123Z] "GET /notify?m=a b HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 3 - "-" "curl/8" '
    '"0f0f0f0f-1111-9222-3333-444444444444" "svcb" "-" outbound|80|v9|svcb.default.svc.cluster.local - 10.96.7.7:80 '
    "10.0.0.5:41234 - nobody"
)
ENVOY_LINE = '[2026-01-02T15:41:50.123Z] "GET /pay HTTP/1.1" 200 - 0 5 7 6 "-" "curl" "id" "svca" "127.41.0.1:8080"'
JSON_LINE = json.dumps(
    {
        "start_time": "2026-01-02T15:41:50.123Z",
        "method": "GET",
        "path": "/pay",
        "protocol": "HTTP/1.1",
        "response_code": 403,
        "response_flags": "-",
        "response_code_details": "rbac_access_denied_matched_policy[none]",
        "duration": 0,
        "upstream_service_time": None,
        "request_id": "id",
        "authority": "svca",
        "upstream_cluster": "inbound|8080||",
        "upstream_host": None,
        "downstream_local_address": "10.0.0.5:8080",
        "route_name": "default",
    }
)
TCP_LINE = (
    '[2026-01-02T15:41:50.123Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - '
    "10.0.0.7:8080 "
    "10.0.0.5:41234 - -"
)
REFUSED_LINE = (
    "[2026-01-02T15:41:50.123Z] refused 127.40.9.10:41 -> 127.40.0.7:8080 NR: this port takes mutual TLS only"
)


def one(text: str) -> Line:
    (found,) = parse(text)
    assert isinstance(found, Line)
    return found


def test_lines_are_read_in_every_format() -> None:
    istio = one(ISTIO_LINE)
    assert (istio.code, istio.flags, istio.details, istio.ms) == (503, "UH", "no_healthy_upstream", 3)
    assert (istio.path, istio.route, istio.upstream, istio.upstream_ms) == ("/notify?m=a b", "nobody", "", None)
    assert ClusterName.of(istio.cluster).subset == "v9"
    envoy = one(ENVOY_LINE)
    assert (envoy.code, envoy.upstream, envoy.upstream_ms, envoy.complete) == (200, "127.41.0.1:8080", 6, False)
    as_json = one(JSON_LINE)
    assert (as_json.code, as_json.cluster, as_json.upstream) == (403, "inbound|8080||", "")
    assert not one(TCP_LINE).http and one(TCP_LINE).flags == "NR"
    (refused,) = parse(REFUSED_LINE)
    assert isinstance(refused, Refusal) and refused.remote == "127.40.9.10:41"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[2026-01-02 15:41:50.123][7][warning][config] gRPC config stream closed",
        "{}",
        '{"level":"info"}',
        "{broken",
        '[today] "GET /pay HTTP/1.1" 200 - 0 5 7 6 "-" "curl" "id" "svca" "127.41.0.1:8080"',
        '{"start_time": "2026-01-02T15:41:50.123Z", "response_code": "none"}',
    ],
)
def test_other_lines_are_passed_over(text: str) -> None:
    assert list(parse(text)) == []


def test_an_id_is_the_same_although_a_sidecar_wrote_into_it() -> None:
    assert same_request("0f0f0f0f-1111-2222-3333-444444444444", one(ISTIO_LINE).request_id)
    assert not same_request("", "") and not same_request("a", "b")


def test_flags_and_details_have_a_meaning_and_strange_ones_say_so() -> None:
    assert [flag for flag, _ in flag_meanings("UF,URX")] == ["UF", "URX"]
    assert "not known here" in flag_meanings("XYZ")[0][1]
    assert flag_meanings("-") == []
    denied = "rbac_access_denied_matched_policy[ns[default]-policy[no-notify]-rule[0]]"
    assert "no-notify" in detail_meaning(denied)
    assert detail_meaning("upstream_reset_before_response_started{connection_termination}").endswith(
        "connection_termination"
    )
    assert detail_meaning("something_new") == ""


@pytest.mark.parametrize(
    ("details", "meaning"),
    [
        ("upgrade_failed", "asks for another protocol"),
        ("upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:"
         "OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}", "the other side speaks plain text"),
        ("upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435581:SSL_routines:"
         "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end}", "does not believe the other side's certificate"),
        ("upstream_reset_before_response_started{connection_termination}", "connection_termination"),
    ],
)  # fmt: skip
def test_what_envoy_says_of_upgrades_and_of_tls_is_told_in_words(details: str, meaning: str) -> None:
    assert meaning in detail_meaning(details)
