"""The tutorial of 2018, typed command by command into a shell with the real kubectl."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest

from meshlab.lab import Lab

pytestmark = pytest.mark.both_captures

Shell = Callable[[str], str]


@pytest.fixture
def shell(lab: Lab, shell_environment: dict[str, str]) -> Shell:
    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=lab.files / "demo", env=shell_environment, capture_output=True, text=True,
            check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(autouse=True)
def as_found(lab: Lab) -> Iterator[None]:
    with lab.leave_as_found():
        yield


def columns(table: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[1:]]


def test_the_control_plane_has_the_tutorials_64_objects(lab: Lab, shell: Shell) -> None:
    said = shell("kubectl apply -f ../istio-0.4.0/install/kubernetes/istio.yaml").splitlines()
    assert len(said) == 64
    assert said[0] == "namespace/istio-system unchanged"
    assert said[-1].startswith("deployment.extensions/istio-ca ")


def test_its_pods_are_ready_as_in_the_tutorial(shell: Shell) -> None:
    pods = {row[0].rsplit("-", 2)[0]: row[1:3] for row in columns(shell("kubectl get pods -n istio-system"))}
    assert {k: v for k, v in pods.items() if k.startswith("istio-")} == {
        "istio-ca": ["1/1", "Running"],
        "istio-ingress": ["1/1", "Running"],
        "istio-mixer": ["3/3", "Running"],
        "istio-pilot": ["2/2", "Running"],
    }


@pytest.mark.parametrize(
    ("service", "ports"),
    [
        ("istio-mixer", "9091/TCP,15004/TCP,9093/TCP,9094/TCP,9102/TCP,9125/UDP,42422/TCP"),
        ("istio-pilot", "15003/TCP,443/TCP"),
    ],
)
def test_its_services_show_the_tutorials_ports(shell: Shell, service: str, ports: str) -> None:
    assert columns(shell(f"kubectl get svc -n istio-system {service}"))[0][4] == ports


def test_the_ingress_waits_for_an_external_address(shell: Shell) -> None:
    row = columns(shell("kubectl get svc -n istio-system istio-ingress"))[0]
    assert row[1] == "LoadBalancer"
    assert row[3] == "<pending>"
    assert re.fullmatch(r"80:\d+/TCP,443:\d+/TCP", row[4])


def test_kube_inject_in_a_process_substitution_works_as_written(shell: Shell) -> None:
    said = shell("kubectl apply -f <(istioctl kube-inject -f svcb-v0.2.yaml)")
    assert said == "deployment.extensions/svcb-v0.2 created\n"
    assert "successfully rolled out" in shell("kubectl rollout status deployment/svcb-v0.2")
    rows = [r for r in columns(shell("kubectl get pods")) if r[0].startswith("svcb-v0.2-")]
    assert [r[1:3] for r in rows] == [["2/2", "Running"]]
    said = shell("kubectl describe svc/svcb")
    assert re.search(r"Port:\s+<unset>\s+80/TCP", said)
    assert len(re.search(r"Endpoints:\s+(\S+)", said)[1].split(",")) == 2  # type: ignore[index]


def test_without_a_rule_svcb_cannot_reach_the_outside(lab: Lab, shell: Shell) -> None:
    (answer,) = lab.curl("http://svca/pay")
    assert answer.status == 200, "svca ignores what svcb answered, as the original did"
    svca = shell("kubectl logs -l app=svca -c svca --tail=4").splitlines()
    assert svca[0] == "service_a:v0.1 is serving the request..."
    assert svca[1] == "service_a:v0.1 pays ok"
    assert svca[2].startswith("&{500 Internal Server Error 500 HTTP/1.1 1 1 map[")
    assert svca[3] == "service_a:v0.1 notify customer ok"
    svcb = shell("kubectl logs -l app=svcb -c svcb --tail=3").splitlines()
    assert "service_b:v0.1 is serving the request..." in svcb
    where = f"{lab.network.external}:9997/send?msg=service_a:v0.1-pays-ok"
    assert svcb[-1] == f"service_b:v0.1 send msg error: Get http://{where}: EOF"


def test_the_egress_rule_opens_the_way_and_is_reported_in_the_tutorials_words(lab: Lab, shell: Shell) -> None:
    said = shell("istioctl create -f rules/enable-svcb-engress-rule.yaml")
    assert re.fullmatch(r"Created config egress-rule/default/enable-svcb-engress-rule at revision \d+\n", said)
    lab.apply("rules/enable-svcb-engress-rule.yaml")  # returns when it is in force
    lab.curl("http://svca/pay")
    msgd = shell("kubectl logs -n external deploy/msgd --tail=3")
    for header in ("X-Ot-Span-Context", "X-Request-Id", "X-B3-Traceid", "X-B3-Sampled:[1]", "X-Istio-Attributes"):
        assert header in msgd
    assert "X-Envoy-Decorator-Operation:[default-route]" in msgd
    assert "Msgd recv msg ok, msg= service_a:v0.1-pays-ok" in msgd


def test_route_rules_are_created_replaced_listed_and_deleted_in_its_words(shell: Shell) -> None:
    name = "route-rule/default/route-rules-svcb"
    said = shell("istioctl create -f rules/route-rules-svcb-v0.2-50.yaml")
    assert re.fullmatch(rf"Created config {name} at revision \d+\n", said)
    said = shell("istioctl replace -f rules/route-rules-svcb-v0.2-100.yaml")
    assert re.fullmatch(rf"Updated config {name} to revision \d+\n", said)
    assert shell("istioctl get routerules").splitlines() == [
        "NAME\t\t\tKIND\t\t\t\t\tNAMESPACE",
        "route-rules-svcb\tRouteRule.v1alpha2.config.istio.io\tdefault",
    ]
    said = shell("istioctl delete -f rules/route-rules-svcb-v0.2-100.yaml")
    assert said == f"Deleted config: {name}\n"
    assert shell("istioctl get routerules") == "No resources found.\n"


def test_the_unnamed_port_makes_the_rule_do_nothing_and_the_name_http_cures_it(lab: Lab) -> None:
    lab.apply("rules/enable-svcb-engress-rule.yaml")
    lab.deploy("svcb-v0.2")
    lab.apply("rules/route-rules-svcb-v0.2-50.yaml")
    as_written = lab.curl("http://svca/pay", 60).by_pod()
    assert len(as_written) == 1, "one kept connection, passed through as TCP, stays on one pod"
    lab.apply("svcb-http.yaml")
    # n = 400: a band of ±59 gives one false alarm in 500 million and misses a true 70/30 with 1 %
    share = lab.curl("http://svca/pay", 400).by_upstream()
    assert set(share) == {"v0.1", "v0.2"}
    assert abs(share["v0.2"] - 200) <= 59
    lab.apply("rules/route-rules-svcb-v0.2-100.yaml")
    assert lab.curl("http://svca/pay", 100).by_upstream() == {"v0.2": 100}
