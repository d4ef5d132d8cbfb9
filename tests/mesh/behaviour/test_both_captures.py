"""What programs of a mesh see of their network: the same, whichever way their connections come to the sidecar."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest
from behaviour_pods import Viewpoint, process_of, until

from meshlab.lab import Lab
from meshlab.settings import Capture, bound_port

pytestmark = pytest.mark.both_captures


@pytest.fixture(autouse=True)
def as_found(lab: Lab, inside: Viewpoint) -> Iterator[None]:
    del inside  # there before the state is looked at
    with lab.leave_as_found():
        yield


# Who is reached


@pytest.mark.parametrize("name", ["svcb", "svcb.default", "svcb.default.svc", "svcb.default.svc.cluster.local"])
def test_a_service_is_reached_by_each_of_its_names(inside: Viewpoint, name: str) -> None:
    assert inside.ask(name)["status"] == 404, "svcb's own answer for /"
    assert inside.ask(name)["headers"]["x-served-by"].startswith("svcb-")


def test_a_name_of_another_namespace_needs_the_namespace(inside: Viewpoint, outside: Viewpoint) -> None:
    assert outside.ask("svcb") == {"error": "unknown"}
    assert outside.ask("svcb.default")["status"] == 404
    assert inside.ask("nothing-of-this-name") == {"error": "unknown"}


def test_127_0_0_1_is_the_pods_own(inside: Viewpoint, outside: Viewpoint) -> None:
    for viewpoint in (inside, outside):
        found = viewpoint.run("found = json.loads(ask('127.0.0.1', PORT)['body'])")
        assert found["pod"] == viewpoint.pod["metadata"]["name"]
        assert found["peer"] in ("127.0.0.1", viewpoint.ip)


@pytest.mark.parametrize("port", [80, 8080])
def test_a_server_sees_the_address_of_the_pod_that_called(
    lab: Lab, inside: Viewpoint, outside: Viewpoint, port: int
) -> None:
    (client,) = lab.access.items("v1", "Pod", "client", labelSelector="app=client")
    (answer,) = lab.curl(f"http://outside:{port}/")
    assert json.loads(answer.body)["peer"] == client["status"]["podIP"]
    by_sidecar = inside.run(f"found = json.loads(ask('outside.client', {port})['body'])")
    assert by_sidecar["peer"] == inside.ip


def test_a_pod_reaches_itself_by_the_address_of_its_service(outside: Viewpoint) -> None:
    found = outside.run("found = json.loads(ask('outside', 80)['body'])")
    assert found["pod"] == outside.pod["metadata"]["name"]


def test_a_sidecar_is_localhost_to_its_application_and_tells_it_who_called(
    inside: Viewpoint, outside: Viewpoint
) -> None:
    found = outside.run("found = json.loads(ask('inside.default', 80)['body'])")
    assert found["pod"] == inside.pod["metadata"]["name"]
    assert found["peer"] == "127.0.0.1"


def test_datagrams_reach_a_service_although_nobody_captures_them(inside: Viewpoint, outside: Viewpoint) -> None:
    assert re.fullmatch(r"[\d.]+", inside.run("found = ask_datagram('outside.client', 8080)"))
    assert re.fullmatch(r"[\d.]+", outside.run("found = ask_datagram('outside', 8080)"))


def test_without_a_sidecar_a_port_that_no_service_has_is_refused(outside: Viewpoint, lab: Lab) -> None:
    assert outside.ask("svcb.default", 81) == {"error": "refused"}
    lab.scale("svcb", 0)
    until(lambda: outside.ask("svcb.default", 80) == {"error": "refused"})


# 404 or closed


def test_http_to_a_host_that_no_rule_allows_is_404_by_the_sidecar(lab: Lab, inside: Viewpoint) -> None:
    lab.apply("svcb-http.yaml")
    assert inside.ask("svcb")["headers"]["x-served-by"].startswith("svcb-")
    answer = inside.ask("svcb", name="nobody.example")
    assert (answer["status"], answer["body"]) == (404, "")
    assert "x-served-by" not in answer["headers"]


def test_a_connection_that_no_listener_takes_is_closed(lab: Lab, inside: Viewpoint) -> None:
    assert inside.ask(lab.network.external, 9997) == {"error": "closed"}
    assert inside.ask("svcb", 81) == {"error": "closed"}


def test_an_unnamed_port_is_tcp_and_goes_by_address_whatever_the_host(inside: Viewpoint) -> None:
    answer = inside.ask("svcb", name="nobody.example")
    assert answer["headers"]["x-served-by"].startswith("svcb-"), "the sidecar did not look at the request"


# Rules


def test_rules_shift_traffic_by_weight(lab: Lab, inside: Viewpoint) -> None:
    lab.deploy("svcb-v0.2")
    lab.apply("svcb-http.yaml")
    lab.apply("rules/route-rules-svcb-v0.2-100.yaml")
    found = inside.run("found = [ask('svcb')['headers']['x-served-by'] for _ in range(30)]")
    assert {each.partition(";")[2] for each in found} == {"v0.2"}


def test_an_egress_rule_opens_the_way_and_its_end_closes_it(lab: Lab, inside: Viewpoint) -> None:
    where = lab.network.external
    assert inside.ask(where, 9997) == {"error": "closed"}
    lab.apply("rules/enable-svcb-engress-rule.yaml")
    assert inside.ask(where, 9997, path="/send?msg=hello")["status"] == 200
    lab.delete("rules/enable-svcb-engress-rule.yaml")
    assert inside.ask(where, 9997) == {"error": "closed"}


def test_an_egress_rule_for_tcp_passes_connections_on(lab: Lab, inside: Viewpoint) -> None:
    lab.apply(
        {
            "apiVersion": "config.istio.io/v1alpha2",
            "kind": "EgressRule",
            "metadata": {"name": "msgd", "namespace": "default"},
            "spec": {
                "destination": {"service": f"{lab.network.external}/32"},
                "ports": [{"port": 9997, "protocol": "tcp"}],
            },
        }
    )
    assert inside.ask(lab.network.external, 9997, path="/send?msg=hello")["status"] == 200


# The end and the beginning of sidecars


def test_a_killed_sidecar_comes_back_and_what_it_took_is_taken_again(lab: Lab, inside: Viewpoint) -> None:
    before = inside.pod
    os.killpg(process_of(lab, before, "istio-proxy"), signal.SIGKILL)

    def restarted() -> bool:
        states = {each["name"]: each for each in inside.pod["status"]["containerStatuses"]}
        return states["istio-proxy"]["restartCount"] > 0 and all(each["ready"] for each in states.values())

    until(restarted)
    lab.settled()
    assert inside.pod["metadata"]["uid"] == before["metadata"]["uid"]
    assert inside.ask("svcb")["status"] == 404
    assert inside.ask(lab.network.external, 9997) == {"error": "closed"}


# Any program


BARE = """
import http.client
connection = http.client.HTTPConnection("{}", {}, timeout=60)
connection.request("GET", "/", headers={{"Host": "nobody.example"}})
answer = connection.getresponse()
print(answer.status, answer.read().decode().strip())
"""


def test_any_program_is_captured_by_iptables_and_none_but_python_by_the_shim(
    capture: Capture, lab: Lab, inside: Viewpoint
) -> None:
    lab.apply("svcb-http.yaml")
    service = lab.access.find("v1", "Service", "default", "svcb")
    assert service is not None
    port = 80 if capture is Capture.IPTABLES else bound_port(80)  # an ordinary user may not bind 80
    found = inside.run(f"found = bare({BARE.format(service['spec']['clusterIP'], port)!r})")
    past_it = inside.run(f"found = bare({BARE.format(lab.network.external, 9997)!r})")
    if capture is Capture.IPTABLES:
        assert found == "404", "the sidecar's answer, which is empty"
        assert past_it.endswith("RemoteDisconnected: Remote end closed connection without response")
        name = inside.run("""found = bare("import socket; print(socket.gethostbyname('svcb'))")""")
        assert name == service["spec"]["clusterIP"], "by the cluster's DNS"
    else:
        assert found == past_it == "404 404 page not found", "the services' own answer"


def test_a_command_in_a_pod_sees_what_its_programs_see(lab: Lab, inside: Viewpoint) -> None:
    name = inside.pod["metadata"]["name"]
    code = "import socket; print(socket.gethostname(), socket.gethostbyname('svcb'))"
    said = lab.kubectl(f'exec {name} -c inside -- python -c "{code}"')
    service = lab.access.find("v1", "Service", "default", "svcb")
    assert service is not None
    assert said.split() == [name, service["spec"]["clusterIP"]]


def test_a_forwarded_port_leads_to_the_program_behind_the_sidecar(lab: Lab, inside: Viewpoint) -> None:
    with subprocess.Popen(
        [lab.settings.bin / "kubectl", "port-forward", f"pod/{inside.pod['metadata']['name']}", ":8080"],
        stdout=subprocess.PIPE,
        text=True,
    ) as forward:
        try:
            assert forward.stdout is not None
            found = re.match(r"Forwarding from (127\.0\.0\.1):(\d+)", forward.stdout.readline())
            assert found is not None
            with closing(http.client.HTTPConnection(found[1], int(found[2]), timeout=60)) as connection:
                connection.request("GET", "/")
                answer = json.loads(connection.getresponse().read())
        finally:
            forward.terminate()
    assert answer["pod"] == inside.pod["metadata"]["name"]
