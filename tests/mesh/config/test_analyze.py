"""What is probably wrong with a configuration, found by reading it: each check, with the line it points to."""

from __future__ import annotations

import pytest

from meshlab.mesh.config.analyze.messages import CODES, Message
from meshlab.mesh.config.analyze.run import analyze
from meshlab.mesh.config.analyze.subject import read_file

WORLD = """\
apiVersion: v1
kind: Service
metadata: {name: svcb}
spec:
  selector: {app: svcb}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: svcb-v1}
spec: {replicas: 2, template: {metadata: {labels: {app: svcb, version: v0.1}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: svcb-v2}
spec: {template: {metadata: {labels: {app: svcb, version: v0.2}}}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{name: mongo, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: door, namespace: istio-system, labels: {istio: ingress}}
---
apiVersion: v1
kind: Secret
metadata: {name: it, namespace: istio-system}
---
apiVersion: v1
kind: Secret
metadata: {name: it}
"""


def found(text: str, world: str = WORLD) -> list[tuple[str, str]]:
    """(code, line) of each finding in `text`, whose first line is 1."""
    return [(each.code, each.place.removeprefix("rules:")) for each in messages(text, world)]


def messages(text: str, world: str = WORLD) -> list[Message]:
    subjects = [*read_file(world, "world"), *read_file(text, "rules")]
    return [each for each in analyze(subjects) if each.place.startswith("rules")]


def rule(spec: str, name: str = "r", kind: str = "RouteRule") -> str:
    """The spec begins on line 5."""
    return f"apiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}"


def today(spec: str, name: str = "v", kind: str = "VirtualService", group: str = "networking") -> str:
    return f"apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}"


TO = "  hosts: [svcb]\n  http:\n"
SUBSETS = "  host: svcb\n  subsets:\n  - {name: v1, labels: {version: v0.1}}\n  - {name: v2, labels: {version: v0.2}}\n"
SERVER = """\
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ['*']
    tls: {{mode: SIMPLE, credentialName: {}}}
"""
GATEWAY = "  selector: {istio: ingressgateway}\n  servers:\n" + SERVER.format("it")
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: it
  namespace: default
  annotations: {kubernetes.io/ingress.class: istio}
spec:
  tls:
  - secretName: it
  defaultBackend:
    service: {name: svcb, port: {number: 80}}
"""
CASES = {
    "nothing is wrong": (rule("  destination: {name: svcb}\n  httpReqTimeout: {simpleTimeout: {timeout: 1s}}\n"), []),
    "a document that does not parse": ("a: b\nc: [\n", [("IST0106", "3")]),
    "an invalid rule, at the field": (rule("  destination: {name: svcb}\n  route: []\n"), [("IST0106", "6")]),
    "an invalid rule of today's, at the field": (
        today(TO + "  - route:\n    - destination: {host: svcb}\n      weight: -1\n"), [("IST0106", "9")]),
    "an invalid rule of today's, at the block": (
        today(TO + "  - timeout: 1s\n  - route: [{destination: {host: svcb}}]\n"), [("IST0106", "7")]),
    "a rule for a service that is not there": (rule("  destination: {name: svcx}\n"), [("IST0101", "5")]),
    "a caller that is not there": (
        rule("  destination: {name: svcb}\n  match:\n    source: {name: gone}\n"), [("IST0101", "7")]),
    "a mirror that is not there": (rule("  destination: {name: svcb}\n  mirror: {name: gone}\n"), [("IST0101", "6")]),
    "a host outside that a rule lets out": (
        rule("  destination: {service: a.com}\n") + "---\n"
        + rule("  destination: {service: a.com}\n  ports: [{port: 80, protocol: http}]\n", "e", "EgressRule"), []),
    "a destination that is not there": (
        today(TO + "  - route:\n    - destination:\n        host: svcx\n"), [("IST0101", "9")]),
    "a destination rule for nothing": (today("  host: svcx\n", "d", "DestinationRule"), [("IST0101", "5")]),
    "a gateway that is not there": (
        today("  hosts: [svcb]\n  gateways: [mesh, g]\n  http: [{route: [{destination: {host: svcb}}]}]\n"),
        [("IST0101", "6")]),
    "a version without pods": (
        rule("  destination: {name: svcb}\n  match: {request: {headers: {x: {exact: a}}}}\n  route:\n"
             "  - labels: {version: v9}\n"), [("IST0173", "8")]),
    "a subset without pods": (
        today("  host: svcb\n  subsets:\n  - name: v9\n    labels: {version: v9}\n", "d", "DestinationRule"),
        [("IST0173", "7")]),
    "a gateway whose certificate is there": (today(GATEWAY, "g", "Gateway"), []),
    "a gateway whose certificate is not there": (
        today(GATEWAY + SERVER.format("gone").replace("https", "other"), "g", "Gateway"), [("IST0101", "12")]),
    "an Ingress with what it needs": (INGRESS, []),
    "an Ingress whose certificate is not there": (INGRESS.replace("Name: it", "Name: gone"), [("IST0101", "9")]),
    "an Ingress of somebody else": (INGRESS.replace(": istio", ": nginx").replace("svcb", "gone"), []),
    "an Ingress for a service that is not there": (INGRESS.replace("svcb", "gone"), [("IST0101", "10")]),
    "an Ingress for a port that is not there": (INGRESS.replace("80", "81"), [("IST0101", "10")]),
    "an Ingress for a port that is not HTTP": (INGRESS.replace("svcb", "db"), [("ML0006", "10")]),
    "a selector of a sidecar that chooses nobody": (
        today("  workloadSelector: {labels: {app: gone}}\n  egress: [{hosts: ['*/*']}]\n", "s", "Sidecar"),
        [("IST0101", "5")]),
    "a policy of the whole mesh": (
        today("  selector: {matchLabels: {app: svcb}}\n", "a", "AuthorizationPolicy", "security").replace(
            "{name: a}", "{name: a, namespace: istio-system}"), []),
    "a policy for a namespace without pods": (
        today("  {}\n", "a", "AuthorizationPolicy", "security").replace("{name: a}", "{name: a, namespace: void}"),
        [("IST0127", "4")]),
    "two sidecars for the same pods": (
        "---\n".join(
            today(f"  workloadSelector: {{labels: {labels}}}\n  egress: [{{hosts: ['*/*']}}]\n", name, "Sidecar")
            for name, labels in (("a", "{app: svcb}"), ("b", "{version: v0.1}"))),
        [("IST0110", "5"), ("IST0110", "12")]),
    "callers of a namespace that is not there": (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
        + today("  rules: [{from: [{source: {namespaces: [shop, 'sh*', gone]}}]}]\n", "a", "AuthorizationPolicy",
                "security"), [("IST0101", "9")]),
    "connections after a route that takes them all": (
        today("  hosts: [svcb]\n  tcp:\n  - route: [{destination: {host: svcb}}]\n"
              "  - match: [{port: 80}]\n    route: [{destination: {host: svcb}}]\n"), [("IST0130", "8")]),
    "connections that an earlier match takes": (
        today("  hosts: [svcb]\n  tcp:\n  - match: [{port: 80}]\n    route: [{destination: {host: svcb}}]\n"
              "  - match:\n    - {port: 81}\n    - {port: 80}\n    route: [{destination: {host: svcb}}]\n"),
        [("IST0131", "11")]),
    "one host twice, each for another namespace": (
        "---\n".join(today(f"  exportTo: [{where}]\n{TO}  - route: [{{destination: {{host: svcb}}}}]\n", where)
                     for where in ("a", "b")), []),
    "one host twice, for one namespace": (
        "---\n".join(today(f"  exportTo: {where}\n{TO}  - route: [{{destination: {{host: svcb}}}}]\n", f"v{n}")
                     for n, where in enumerate(("[a, b]", "[b]"))), [("IST0109", "6"), ("IST0109", "15")]),
    "what an anchor names, and its alias": (
        today(TO + "  - match: [{uri: {prefix: /a}}]\n    route: &r\n    - destination:\n        host: gone\n"
              "  - route: *r\n"),
        [("IST0101", "10"), ("IST0101", "11")]),
    "the end of each line as Windows writes it": (
        today(TO + "  - route: [{destination: {host: gone}}]\n").replace("\n", "\r\n"), [("IST0101", "7")]),
    "a file that begins with comments": (
        "# a\n\n---\n# b\n" + today(TO + "  - route: [{destination: {host: gone}}]\n"), [("IST0101", "11")]),
    "a subset that nobody defines": (
        today(TO + "  - route:\n    - destination: {host: svcb, subset: v1}\n"), [("IST0101", "8")]),
    "weights that hide a version": (
        rule("  destination: {name: svcb}\n  route:\n  - labels: {version: v0.2}\n"), [("ML0001", "6")]),
    "a weight of 0 hides a version": (
        rule("  destination: {name: svcb}\n  route:\n  - {labels: {version: v0.2}, weight: 100}\n"
             "  - {labels: {version: v0.1}, weight: 0}\n"), [("ML0001", "6")]),
    "weights that hide nothing": (
        rule("  destination: {name: svcb}\n  route:\n  - {labels: {version: v0.2}, weight: 99}\n"
             "  - {labels: {version: v0.1}, weight: 1}\n"), []),
    "a rule for some requests hides nothing": (
        rule("  destination: {name: svcb}\n  match: {request: {headers: {x: {exact: a}}}}\n  route:\n"
             "  - labels: {version: v0.2}\n"), []),
    "weights of today's that hide a version": (
        today(SUBSETS, "d", "DestinationRule") + "---\n"
        + today(TO + "  - route: [{destination: {host: svcb, subset: v2}}]\n"), [("ML0001", "16")]),
    "a rule after one that takes everything": (
        rule("  destination: {name: svcb}\n  precedence: 2\n", "first") + "---\n"
        + rule("  precedence: 1\n  destination: {name: svcb}\n  match: {request: {headers: {x: {prefix: a}}}}\n", "l"),
        [("IST0130", "12")]),
    "a rule after one with a wider prefix": (
        rule("  destination: {name: svcb}\n  match: {request: {headers: {uri: {prefix: /a}}}}\n", "a") + "---\n"
        + rule("  destination: {name: svcb}\n  match: {request: {headers: {uri: {exact: /ab}, x: {exact: z}}}}\n", "b"),
        [("IST0130", "11")]),
    "a rule after one for other callers": (
        rule("  destination: {name: svcb}\n  match: {source: {name: svcb, labels: {version: v0.1}}}\n", "a") + "---\n"
        + rule("  destination: {name: svcb}\n", "b"), []),
    "a block after the one that takes everything": (
        today(TO + "  - route: [{destination: {host: svcb}}]\n"
              "  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: svcb}}]\n"), [("IST0130", "8")]),
    "a match that an earlier one covers": (
        today(TO + "  - match:\n    - uri: {prefix: /a}\n    - uri: {exact: /ab}\n"
              "    route: [{destination: {host: svcb}}]\n  - route: [{destination: {host: svcb}}]\n"),
        [("IST0131", "9")]),
    "egress rules for the same host": (
        rule("  destination: {service: a.com}\n  ports: [{port: 80, protocol: http}]\n", "a", "EgressRule") + "---\n"
        + rule("  destination: {service: a.com}\n  ports: [{port: 81, protocol: http}]\n", "b", "EgressRule"),
        [("ML0002", "12")]),
    "egress rules with different protocols on a port": (
        rule("  destination: {service: a.com}\n  ports: [{port: 80, protocol: http}]\n", "a", "EgressRule") + "---\n"
        + rule("  destination: {service: 10.0.0.1}\n  ports: [{port: 80, protocol: tcp}]\n", "b", "EgressRule"),
        [("ML0002", "13")]),
    "two virtual services for a host": (
        today(TO + "  - route: [{destination: {host: svcb}}]\n", "a") + "---\n"
        + today(TO + "  - route: [{destination: {host: svcb}}]\n", "b"), [("IST0109", "5"), ("IST0109", "13")]),
    "both generations for a host": (
        rule("  destination: {name: svcb}\n") + "---\n" + today(TO + "  - route: [{destination: {host: svcb}}]\n"),
        [("ML0003", "5")]),
    "a policy for a version that no rule names": (
        rule("  destination: {name: svcb, labels: {version: v0.1}}\n  loadBalancing: {name: RANDOM}\n", "p",
             "DestinationPolicy"), [("ML0004", "5")]),
    "a policy selector without pods": (
        today("  selector: {matchLabels: {app: x}}\n", "p", "PeerAuthentication", "security"), [("IST0127", "5")]),
    "a TCP entry without addresses": (
        today("  hosts: [db.com]\n  resolution: DNS\n  ports:\n  - {number: 1, name: tcp, protocol: TCP}\n", "s",
              "ServiceEntry"), [("IST0134", "8")]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CASES.values(), ids=list(CASES))
def test_findings(text: str, wanted: list[tuple[str, str]]) -> None:
    assert found(text) == wanted, [str(each) for each in messages(text)]


UNNAMED = WORLD.replace(
    "ports: [{name: http, port: 80, targetPort: 8080}]", "ports:\n  - port: 80\n    targetPort: 8080"
)


def test_an_unnamed_port_is_told_with_the_rules_that_it_makes_idle() -> None:
    half = "".join(f"  - {{labels: {{version: v0.{n}}}, weight: 50}}\n" for n in (1, 2))
    (only,) = messages(UNNAMED + "---\n" + rule("  destination: {name: svcb}\n  route:\n" + half), "")
    assert (only.code, only.place) == ("IST0118", "rules:7")
    assert "RouteRule r cannot have any effect; name the port http" in only.text


@pytest.mark.parametrize("name", ["http", "http-web", "tcp", "grpc-x", "HTTP"])
def test_a_port_that_says_its_protocol_is_left_alone(name: str) -> None:
    assert messages(WORLD.replace("name: http,", f"name: {name},"), "") == []


def pod(labels: str = "", containers: str = "[{name: app}]", namespace: str = "shop") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}, labels: {{{labels}}}}}\n"
        f"spec: {{containers: {containers}}}\n"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (pod(), ["IST0103"]),
        (pod(containers="[{name: app}, {name: istio-proxy}]"), []),
        (pod("sidecar.istio.io/inject: 'false'"), []),
        (pod(namespace="other"), []),
    ],
)
def test_a_pod_that_was_there_before_its_namespace_was_labelled(text: str, wanted: list[str]) -> None:
    spaces = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio-injection: enabled}}\n"
    assert [each.code for each in messages(text, spaces)] == wanted


@pytest.mark.parametrize(
    ("peers", "namespace", "said", "wanted"),
    [
        ("STRICT", "default", "DISABLE", ["IST0113"]),
        ("STRICT", "istio-system", "SIMPLE", ["IST0113"]),
        ("DISABLE", "default", "ISTIO_MUTUAL", ["IST0113"]),
        ("STRICT", "default", "ISTIO_MUTUAL", []),
        ("PERMISSIVE", "default", "DISABLE", []),
        ("STRICT", "elsewhere", "DISABLE", []),
    ],
)
def test_callers_that_are_told_to_come_otherwise_than_a_port_takes_them(
    peers: str, namespace: str, said: str, wanted: list[str]
) -> None:
    policy = today(f"  mtls: {{mode: {peers}}}\n", "peers", "PeerAuthentication", "security")
    policy = policy.replace("{name: peers", f"{{namespace: {namespace}, name: peers")
    text = today(f"  host: svcb\n  trafficPolicy: {{tls: {{mode: {said}}}}}\n", "rule", "DestinationRule")
    assert [each.code for each in messages(text, WORLD + "---\n" + policy)] == wanted


def test_a_finding_is_printed_as_todays_tool_prints_it() -> None:
    (only,) = messages(rule("  destination: {name: svcx}\n"))
    assert str(only) == (
        'Error [IST0101] (RouteRule default/r rules:5) Referenced host not found: "svcx.default.svc.cluster.local"'
    )
    assert set(only.json()) == {"code", "level", "origin", "message", "reference"}


def test_without_any_service_nobody_can_tell_whether_a_host_exists() -> None:
    assert messages(rule("  destination: {name: svcx}\n"), "") == []


def test_an_object_of_a_file_stands_for_the_one_in_the_lab() -> None:
    live = list(read_file(WORLD + "---\n" + rule("  destination: {name: svcx}\n"), ""))
    mended = read_file(rule("  destination: {name: svcb}\n"), "rules")
    assert [each.code for each in analyze([*live, *mended])] == []


def test_every_code_is_explained() -> None:
    assert all(text and level for level, text in CODES.values())
