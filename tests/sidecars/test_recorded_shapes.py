"""What real ones write: istiod's pages, its sidecars' dumps and logs, in the shapes of Istio 1.24 to 1.28."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import pytest

from meshlab.istioctl.proxyconfig.command import kind_of, printed
from meshlab.istioctl.proxyconfig.filters import Filters
from meshlab.istioctl.proxyconfig.status import comparison_text, status_text
from meshlab.sidecars.compare import compared
from meshlab.sidecars.sidecars import Pod
from meshlab.sidecars.syncz import parse as parse_syncz

ALL = Filters()
ANY = "0.0.0.0"  # noqa: S104 - as Envoy writes it
SVCB = "svcb.default.svc.cluster.local"
MADE_BY = "/apis/networking.istio.io/v1/namespaces/default"
AT = "type.googleapis.com/envoy."
RULE = {"filter_metadata": {"istio": {"config": f"{MADE_BY}/virtual-service/svcb"}}}


def manager(**config: Any) -> dict[str, Any]:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def tcp(cluster: str) -> dict[str, Any]:
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"cluster": cluster}}


def listener(address: str, port: int, *chains: dict[str, Any]) -> dict[str, Any]:
    made = {
        "name": f"{address}_{port}",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": list(chains),
    }
    return {"name": made["name"], "active_state": {"listener": made}}


DUMP = json.dumps(
    {
        "configs": [
            {
                "@type": f"{AT}admin.v3.BootstrapConfigDump",
                "bootstrap": {
                    "node": {
                        "metadata": {"ISTIO_VERSION": "1.28.0", "ISTIO_PROXY_SHA": "istio-proxy:0a1b2c"},
                        "user_agent_build_version": {
                            "version": {"major_number": 1, "minor_number": 36},
                            "metadata": {
                                "build.type": "RELEASE",
                                "revision.status": "Clean",
                                "ssl.version": "BoringSSL",
                            },
                        },
                    }
                },
            },
            {
                "@type": f"{AT}admin.v3.ClustersConfigDump",
                "dynamic_active_clusters": [
                    {
                        "cluster": {
                            "name": f"outbound|80|v1|{SVCB}",
                            "type": "EDS",
                            "metadata": {"filter_metadata": {"istio": {"config": f"{MADE_BY}/destination-rule/svcb"}}},
                        }
                    },
                    {"cluster": {"name": f"outbound|80||{SVCB}", "type": "EDS"}},
                    {"cluster": {"name": "inbound|8080||", "type": "ORIGINAL_DST"}},
                    {"cluster": {"name": "BlackHoleCluster"}},
                ],
                "static_clusters": [{"cluster": {"name": "xds-grpc", "type": "STATIC"}}],
            },
            {
                "@type": f"{AT}admin.v3.ListenersConfigDump",
                "dynamic_listeners": [
                    listener(ANY, 15001, {"filters": [tcp("PassthroughCluster")], "name": "virtualOutbound"}),
                    listener(
                        "10.96.0.1", 443, {"filters": [tcp("outbound|443||kubernetes.default.svc.cluster.local")]}
                    ),
                    listener(
                        ANY,
                        80,
                        {
                            "filter_chain_match": {
                                "transport_protocol": "raw_buffer",
                                "application_protocols": ["http/1.0", "http/1.1", "h2c"],
                            },
                            "filters": [manager(rds={"route_config_name": "80"})],
                        },
                    ),
                ],
            },
            {
                "@type": f"{AT}admin.v3.RoutesConfigDump",
                "dynamic_route_configs": [
                    {
                        "route_config": {
                            "name": "inbound|8080||",
                            "virtual_hosts": [
                                {
                                    "name": "inbound|http|80",
                                    "domains": ["*"],
                                    "routes": [
                                        {
                                            "name": "default",
                                            "match": {"prefix": "/"},
                                            "route": {"cluster": "inbound|8080||"},
                                        }
                                    ],
                                }
                            ],
                        }
                    },
                    {
                        "route_config": {
                            "name": "80",
                            "virtual_hosts": [
                                {
                                    "name": f"{SVCB}:80",
                                    "domains": [SVCB, "svcb", "svcb.default.svc", "svcb.default", "10.96.7.7"],
                                    "routes": [
                                        {
                                            "match": {"prefix": "/notify"},
                                            "metadata": RULE,
                                            "route": {"cluster": f"outbound|80|v1|{SVCB}"},
                                        }
                                    ],
                                },
                                {"name": "empty", "domains": ["empty"]},
                                {
                                    "name": "allow_any",
                                    "domains": ["*"],
                                    "routes": [
                                        {
                                            "name": "allow_any",
                                            "match": {"prefix": "/"},
                                            "route": {"cluster": "PassthroughCluster"},
                                        }
                                    ],
                                },
                            ],
                        }
                    },
                ],
            },
        ]
    }
)


def lines(kind: str, **wanted: Any) -> list[list[str]]:
    """The cells of a table: columns are two spaces apart at least, or (listeners) as wide as their headings say."""
    return [line.split() for line in printed(kind, DUMP, "short", Filters(**wanted)).splitlines()]


def test_clusters_are_told_by_host_port_subset_and_direction() -> None:
    assert printed("cluster", DUMP, "short", ALL).splitlines()[0].split("  ")[0] == "SERVICE FQDN"
    assert lines("cluster")[1:] == [
        ["8080", "-", "inbound", "ORIGINAL_DST"],
        ["BlackHoleCluster", "-", "-", "-", "STATIC"],
        [SVCB, "80", "-", "outbound", "EDS"],
        [SVCB, "80", "v1", "outbound", "EDS", "svcb.default"],
        ["xds-grpc", "-", "-", "-", "STATIC"],
    ]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"fqdn": "svcb"}, 2),
        ({"subset": "v1"}, 1),
        ({"direction": "inbound"}, 1),
        ({"port": 80}, 2),
        ({"port": 81}, 0),
        ({"fqdn": "svcb", "subset": "v1"}, 1),
    ],
)
def test_filters_leave_the_others_out(wanted: dict[str, Any], names: int) -> None:
    assert len(lines("cluster", **wanted)) == names + 1


def test_listeners_come_by_port_with_what_they_match_and_where_they_lead() -> None:
    assert printed("listener", DUMP, "short", ALL) == (
        "ADDRESSES PORT  MATCH                        DESTINATION\n"
        "0.0.0.0   80    Trans: raw_buffer; App: HTTP Route: 80\n"
        "10.96.0.1 443   ALL                          Cluster: outbound|443||kubernetes.default.svc.cluster.local\n"
        "0.0.0.0   15001 ALL                          PassthroughCluster\n"
    )
    assert lines("listener", verbose=False)[1] == [ANY, "80", "HTTP"]
    assert len(lines("listener", type="tcp")) == 3


def test_routes_name_their_rule_and_leave_out_what_is_passed_through() -> None:
    assert lines("route")[1:] == [
        ["80", f"{SVCB}:80", "svcb,", "svcb.default", "+", "1", "more...", "/notify*", "svcb.default"],
        ["80", "empty", "empty", "/*", "404"],
        ["inbound|8080||", "inbound|http|80", "*", "/*"],
    ]
    assert lines("route", verbose=False, name="80") == [["NAME", "VIRTUAL", "HOSTS"], ["80", "3"]]


def test_versions_are_said_in_short() -> None:
    assert printed("bootstrap", DUMP, "short", ALL) == (
        "Istio Version:       1.28.0\nIstio Proxy Version: 0a1b2c\n"
        "Envoy Version:       1.36.0/Clean/RELEASE/BoringSSL\n"
    )
    assert json.loads(printed("bootstrap", DUMP, "", ALL))["bootstrap"]["node"]["metadata"]["ISTIO_VERSION"] == "1.28.0"


def test_everything_names_each_row() -> None:
    said = printed("all", DUMP, "short", ALL, headers=True)
    assert f"cluster/outbound|80|v1|{SVCB} " in said and "listener/0.0.0.0_80 " in said and "route/80 " in said
    assert said.index("------ BOOTSTRAP INFO ------") < said.index("------ ENDPOINTS INFO ------")


def test_endpoints_say_what_became_of_them() -> None:
    def host(address: str, health: str, **more: Any) -> dict[str, Any]:
        return {
            "address": {"socket_address": {"address": address, "port_value": 8080}},
            "health_status": {"eds_health_status": health, **more},
        }

    text = json.dumps(
        {
            "cluster_statuses": [
                {"name": "inbound|8080||"},
                {
                    "name": f"outbound|80||{SVCB}",
                    "host_statuses": [
                        host("10.0.0.7", "HEALTHY", failed_outlier_check=True),
                        host("10.0.0.5", "DRAINING"),
                    ],
                },
            ]
        }
    )
    assert printed("endpoint", text, "short", ALL) == (
        "ENDPOINT          STATUS       OUTLIER CHECK     CLUSTER\n"
        f"10.0.0.5:8080     DRAINING     OK                outbound|80||{SVCB}\n"
        f"10.0.0.7:8080     HEALTHY      FAILED            outbound|80||{SVCB}\n"
    )
    assert printed("endpoint", text, "short", Filters(status="healthy")).count("\n") == 2
    assert [each["name"] for each in json.loads(printed("endpoint", text, "json", ALL))] == [f"outbound|80||{SVCB}"]


def test_certificates_are_read_out_of_secrets() -> None:
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("spiffe.invalid")
    pem = base64.b64encode(leaf.cert_chain_pems[0].bytes()).decode()
    root = base64.b64encode(authority.cert_pem.bytes()).decode()
    dump = json.dumps(
        {
            "configs": [
                {
                    "@type": f"{AT}admin.v3.SecretsConfigDump",
                    "dynamic_active_secrets": [
                        {
                            "name": "default",
                            "secret": {"tls_certificate": {"certificate_chain": {"inline_bytes": pem}}},
                        },
                        {"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": root}}}},
                    ],
                    "dynamic_warming_secrets": [{"name": "configmap://late", "secret": {"name": "configmap://late"}}],
                }
            ]
        }
    )
    rows = [line.split() for line in printed("secret", dump, "short", ALL).splitlines()]
    assert rows[1] == ["configmap://late", "WARMING", "false"]
    assert rows[2][:5] == ["default", "Cert", "Chain", "ACTIVE", "true"]
    assert rows[3][:4] == ["ROOTCA", "CA", "ACTIVE", "true"]
    assert datetime.datetime.fromisoformat(rows[2][6]) > datetime.datetime.fromisoformat(rows[2][7])


@pytest.mark.parametrize(("word", "kind"), [("c", "cluster"), ("routes", "route"), ("ep", "endpoint"), ("a", "all")])
def test_kinds_have_short_names(word: str, kind: str) -> None:
    assert kind_of(word) == kind


ISTIOD = json.dumps(
    [
        {
            "cluster_id": "Kubernetes",
            "proxy": "svcb-1.default",
            "proxy_type": "sidecar",
            "istio_version": "1.28.0",
            "cluster_sent": "n1",
            "cluster_acked": "n1",
            "listener_sent": "n2",
            "listener_acked": "n1",
            "route_sent": "n3",
            "endpoint_sent": "n4",
            "endpoint_acked": "n4",
            "resources": {
                f"{AT}config.route.v3.RouteConfiguration": {
                    "sent": "n3",
                    "acked": "",
                    "sentTime": "2026-01-01T00:00:00Z",
                    "lastError": "duplicate domain *",
                }
            },
        },
        {"cluster_id": "Kubernetes", "proxy": "gateway-1.istio-system", "istio_version": "1.28.0"},
    ]
)
OURS = json.dumps(
    {
        "generation": 3,
        "sources": {},
        "proxies": {
            "sidecar~127.40.0.7~svca-1.default~default.svc.cluster.local": {
                "connectedSeconds": 9.0,
                "cds": {"sent": "a/1", "acked": "a/1", "nack": None, "state": "SYNCED"},
                "rds": {"sent": "b/2", "acked": "a/1", "nack": None, "state": "STALE"},
            }
        },
    }
)


def test_the_state_of_proxies_is_read_in_both_shapes() -> None:
    gateway, sidecar = parse_syncz(ISTIOD, "istiod-7")
    assert gateway.states == {}
    assert sidecar.states == {"CDS": "SYNCED", "LDS": "STALE", "EDS": "SYNCED", "RDS": "ERROR"}
    assert sidecar.reasons == {"RDS": "duplicate domain *"}
    (ours,) = parse_syncz(OURS, "istio-pilot-1")
    assert (ours.proxy, ours.states) == ("svca-1.default", {"CDS": "SYNCED", "RDS": "STALE"})


def test_proxy_status_prints_what_todays_prints() -> None:
    assert status_text(parse_syncz(ISTIOD, "istiod-7")) == (
        "NAME                       CLUSTER        ISTIOD       VERSION     SUBSCRIBED TYPES\n"
        "gateway-1.istio-system     Kubernetes     istiod-7     1.28.0      0\n"
        "svcb-1.default             Kubernetes     istiod-7     1.28.0      4 (CDS,LDS,EDS,RDS)\n"
    )
    verbose = status_text(parse_syncz(ISTIOD, "istiod-7"), verbose=True).splitlines()
    assert verbose[0].split() == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "ISTIOD", "VERSION"]
    assert verbose[1].split()[2:7] == ["IGNORED"] * 5
    assert verbose[3] == "svcb-1.default refused RDS: duplicate domain *"


def test_a_proxy_is_compared_with_what_it_is_meant_to_have_in_both_spellings() -> None:
    """istiod's page is in the other of protobuf's spellings, and has names that Envoy's has not yet."""
    meant = json.loads(DUMP.replace("dynamic_active_clusters", "dynamicActiveClusters"))
    assert [each.difference for each in compared(json.dumps(meant), DUMP)] == ["", "", ""]
    clusters = next(each for each in meant["configs"] if "dynamicActiveClusters" in each)["dynamicActiveClusters"]
    clusters.append({"cluster": {"name": "late", "connectTimeout": "1s"}})
    changed, *others = compared(json.dumps(meant), DUMP)
    assert '-        "connect_timeout": "1s"' in changed.difference
    assert [each.difference for each in others] == ["", ""]
    said = comparison_text([changed, *others], [])
    assert said.startswith("Clusters Don't Match\n--- Istiod Clusters") and said.endswith("Routes Match\n")


def test_a_sidecar_may_be_an_init_container_that_keeps_running() -> None:
    pod = Pod.of(
        {
            "metadata": {"name": "svcb-1", "namespace": "default", "labels": {"app": "svcb", "version": "v1"}},
            "spec": {
                "containers": [{"name": "svcb"}],
                "initContainers": [{"name": "istio-init"}, {"name": "istio-proxy", "restartPolicy": "Always"}],
            },
            "status": {"podIP": "10.0.0.7"},
        }
    )
    assert (pod.proxy, pod.programs, pod.app, pod.version) == ("istio-proxy", ("svcb",), "svcb", "v1")
