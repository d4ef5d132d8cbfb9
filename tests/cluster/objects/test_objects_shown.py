"""What clients are shown: tables, OpenAPI; and what kubectl sends in protobuf."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meshlab.cluster.api.columns import COLUMNS, definitions
from meshlab.cluster.api.durations import age, human
from meshlab.cluster.api.jsonpath import find
from meshlab.cluster.api.openapi import v2_protobuf, v3_document, v3_index
from meshlab.cluster.api.protobuf import MAGIC, ProtobufError
from meshlab.cluster.api.protobuf import decode as decode_protobuf
from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.strict import decode
from meshlab.cluster.api.table import table

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(**units: float) -> str:
    return (NOW - timedelta(**units)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    verbs: tuple[str, ...] = ("create", "delete", "get", "list", "patch", "update", "watch")


PODS = Kind("", "v1", "Pod", "pods")
ZAGS = Kind("x.io", "v1", "Zag", "zags")


class Registry:
    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds

    def all(self) -> Iterable[Kind]:
        return self.kinds


@pytest.mark.parametrize(
    ("delta", "text"),
    [({"seconds": 0}, "0s"), ({"seconds": 119}, "119s"), ({"minutes": 3, "seconds": 20}, "3m20s"),
     ({"minutes": 59}, "59m"), ({"hours": 5, "minutes": 1}, "5h1m"), ({"days": 3}, "3d"), ({"days": 800}, "2y70d"),
     ({"seconds": -5}, "<invalid>")],
)  # fmt: skip
def test_ages_are_kubectls(delta: dict[str, float], text: str) -> None:
    assert human(timedelta(**delta).total_seconds()) == text


def test_an_unknown_age_says_so() -> None:
    assert age(None, NOW) == "<unknown>"


def pod(status: dict[str, Any], *, count: int = 1, init: int = 0, meta: dict[str, Any] | None = None) -> Any:
    spec: dict[str, Any] = {"containers": [{"name": f"c{i}"} for i in range(count)]}
    if init:
        spec["initContainers"] = [{"name": f"i{i}"} for i in range(init)]
    metadata = {"name": "p", "creationTimestamp": ago(minutes=5), **(meta or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def running(ready: bool = True, **more: Any) -> dict[str, Any]:
    return {"ready": ready, "state": {"running": {"startedAt": ago(minutes=4)}}, **more}


def waiting(reason: str) -> dict[str, Any]:
    return {"ready": False, "state": {"waiting": {"reason": reason}}}


def ended(code: int, reason: str = "") -> dict[str, Any]:
    state: dict[str, Any] = {"exitCode": code}
    return {"ready": False, "state": {"terminated": state | ({"reason": reason} if reason else {})}}


PHASES: list[tuple[Any, list[Any]]] = [
    (pod({"phase": "Pending"}), ["p", "0/1", "Pending", "0", "5m"]),
    (pod({"phase": "Running", "containerStatuses": [running(), running()]}, count=2),
     ["p", "2/2", "Running", "0", "5m"]),
    (pod({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}),
     ["p", "0/1", "ContainerCreating", "0", "5m"]),
    (pod({"phase": "Running", "containerStatuses": [running(), waiting("CrashLoopBackOff") | {"restartCount": 3,
          "lastState": {"terminated": {"finishedAt": ago(seconds=20)}}}]}, count=2),
     ["p", "1/2", "CrashLoopBackOff", "3 (20s ago)", "5m"]),
    (pod({"phase": "Pending", "initContainerStatuses": [ended(0), running(False)]}, init=2),
     ["p", "0/1", "Init:1/2", "0", "5m"]),
    (pod({"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")]}, init=1),
     ["p", "0/1", "Init:CrashLoopBackOff", "0", "5m"]),
    (pod({"phase": "Pending", "initContainerStatuses": [ended(1)]}, init=1),
     ["p", "0/1", "Init:ExitCode:1", "0", "5m"]),
    (pod({"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")]}, init=1),
     ["p", "0/1", "Init:0/1", "0", "5m"]),
    (pod({"phase": "Running", "containerStatuses": [running()]}, meta={"deletionTimestamp": ago(seconds=1)}),
     ["p", "1/1", "Terminating", "0", "5m"]),
    (pod({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}), ["p", "0/1", "Completed", "0", "5m"]),
    (pod({"phase": "Failed", "containerStatuses": [ended(2)]}), ["p", "0/1", "ExitCode:2", "0", "5m"]),
    (pod({"phase": "Failed", "reason": "Evicted"}), ["p", "0/1", "Evicted", "0", "5m"]),
    (pod({"phase": "Running", "containerStatuses": [running(), ended(0, "Completed")],
          "conditions": [{"type": "Ready", "status": "False"}]}, count=2), ["p", "1/2", "NotReady", "0", "5m"]),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "cells"), PHASES, ids=[cells[2] for _, cells in PHASES])
def test_a_pods_row_is_what_kubectl_shows(schemas: Schemas, obj: Any, cells: list[Any]) -> None:
    (row,) = table(PODS, [obj], now=NOW, schemas=schemas)["rows"]
    assert row["cells"][:5] == cells
    assert row["object"]["kind"] == "PartialObjectMetadata"


META = {"name": "a", "creationTimestamp": ago(days=2)}
ROWS: list[tuple[Kind, dict[str, Any], list[Any]]] = [
    (Kind("", "v1", "Service", "services"),
     {"spec": {"type": "ClusterIP", "clusterIP": "127.105.0.9", "ports": [{"port": 80, "protocol": "TCP"}]}},
     ["a", "ClusterIP", "127.105.0.9", "<none>", "80/TCP", "2d", "<none>"]),
    (Kind("", "v1", "Service", "services"),
     {"spec": {"type": "LoadBalancer", "clusterIP": "127.105.0.9", "selector": {"b": "2", "a": "1"},
               "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}},
     ["a", "LoadBalancer", "127.105.0.9", "<pending>", "80:30000/TCP,53/UDP", "2d", "a=1,b=2"]),
    (Kind("apps", "v1", "Deployment", "deployments"),
     {"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}},
               "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}},
      "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}},
     ["a", "1/2", 2, 1, "2d", "c,d", "i,j", "app=x"]),
    (Kind("extensions", "v1beta1", "Deployment", "deployments"), {"spec": {"replicas": 0}},
     ["a", "0/0", 0, 0, "2d", "", "", "<none>"]),
    (Kind("", "v1", "Endpoints", "endpoints"),
     {"subsets": [{"addresses": [{"ip": f"127.40.0.{i}"} for i in range(1, 6)], "ports": [{"port": 80}]}]},
     ["a", "127.40.0.1:80,127.40.0.2:80,127.40.0.3:80 + 2 more...", "2d"]),
    (Kind("", "v1", "Node", "nodes", False),
     {"spec": {"unschedulable": True}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
      "addresses": [{"type": "InternalIP", "address": "127.40.0.1"}], "nodeInfo": {"kubeletVersion": "v1"}}},
     ["a", "Ready,SchedulingDisabled", "<none>", "2d", "v1", "127.40.0.1", "<none>", "<unknown>", "<unknown>",
      "<unknown>"]),
    (Kind("extensions", "v1beta1", "Ingress", "ingresses"),
     {"spec": {"backend": {"serviceName": "s", "servicePort": 80}}}, ["a", "<none>", "*", "", "80", "2d"]),
    (Kind("batch", "v1", "Job", "jobs"),
     {"spec": {"completions": 3}, "status": {"succeeded": 1, "startTime": ago(seconds=30)}},
     ["a", "Running", "1/3", "30s", "2d", "", "", "<none>"]),
    (Kind("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
     {"spec": {"minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50,
               "scaleTargetRef": {"kind": "Deployment", "name": "web"}}, "status": {"currentReplicas": 1}},
     ["a", "Deployment/web", "cpu: <unknown>/50%", "1", 5, 1, "2d"]),
    (Kind("rbac.authorization.k8s.io", "v1beta1", "Role", "roles"), {"rules": []}, ["a", ago(days=2)]),
    (Kind("", "v1", "Event", "events"),
     {"type": "Normal", "reason": "Scheduled", "message": "hello", "count": 2, "firstTimestamp": ago(minutes=5),
      "lastTimestamp": ago(minutes=1), "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "s"}},
     ["60s", "Normal", "Scheduled", "pod/p", "", "s", "hello", "5m", 2, "a"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "cells"), ROWS, ids=[f"{k.kind}-{i}" for i, (k, _, _) in enumerate(ROWS)])
def test_every_kind_has_kubectls_columns(
    schemas: Schemas, kind: Kind, obj: dict[str, Any], cells: list[Any]
) -> None:
    version = f"{kind.group}/{kind.version}".removeprefix("/")
    made = table(kind, [{"apiVersion": version, "kind": kind.kind, "metadata": META, **obj}], now=NOW, schemas=schemas)
    assert made["rows"][0]["cells"] == cells
    assert len(made["columnDefinitions"]) == len(cells)


def test_every_column_is_described(schemas: Schemas) -> None:
    for group, kind in COLUMNS:
        heads = definitions(schemas, group, kind)
        # A real server looks for that of a runtime class where there is none.
        assert [head["name"] for head in heads if not head["description"]] == ["Handler"] * (kind == "RuntimeClass")


def test_custom_resources_show_the_columns_of_their_definition(schemas: Schemas) -> None:
    obj = {"apiVersion": "x.io/v1", "kind": "Zag", "metadata": META,
           "spec": {"hosts": ["a", "b"], "size": 3, "on": True},
           "status": {"conditions": [{"type": "Ready", "status": "True"}]}}  # fmt: skip
    columns = [
        {"name": "Hosts", "type": "string", "jsonPath": ".spec.hosts"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Missing", "type": "string", "jsonPath": ".spec.nothing"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    made = table(ZAGS, [obj], now=NOW, schemas=schemas, custom=True, crd_columns=columns, include="Object")
    assert made["rows"][0]["cells"] == ["a", '["a","b"]', 3, "True", None, "2d"]
    assert made["rows"][0]["object"] == obj
    assert [c["name"] for c in made["columnDefinitions"]][:2] == ["Name", "Hosts"]
    plain = table(ZAGS, [obj], now=NOW, schemas=schemas, custom=True, include="None", headings=False)
    assert (plain["rows"][0]["cells"], plain["rows"][0]["object"]) == (["a", "2d"], None)
    assert plain["columnDefinitions"] == []


@pytest.mark.parametrize(
    ("path", "found"),
    [(".a.b", [1]), ("{.a.b}", [1]), (".l[0].n", ["x"]), (".l[*].n", ["x", "y"]), (".l[-1].n", ["y"]),
     (".l[?(@.n=='y')].v", [2]), (".a['b']", [1]), (".m.x\\.io/y", [3]), ("..n", ["x", "y"]), (".zz", []),
     (".a[", [])],
)  # fmt: skip
def test_jsonpath(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1}, "l": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "m": {"x.io/y": 3}}
    assert find(obj, path) == found


def test_openapi_has_what_kubectl_looks_for(schemas: Schemas) -> None:
    registry = Registry(PODS, ZAGS)
    index = v3_index(registry)["paths"]
    assert set(index) == {"api/v1", "apis/x.io/v1"}
    assert index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    document = v3_document("", "v1", registry, schemas=schemas)
    create = document["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"]
    assert create["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "fieldValidation" in {p["name"] for p in create["parameters"]}
    assert json.dumps(document).count("#/components/schemas/io.k8s.api.core.v1.Container") > 0
    named = {line.split('"')[0] for line in json.dumps(document).split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
    assert v3_document("nope.io", "v1", registry, schemas=schemas) == {}
    assert v2_protobuf().startswith(b"\n\x032.0")


def test_openapi_carries_the_schemas_of_custom_resources(schemas: Schemas) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object"}}}
    document = v3_document("x.io", "v1", Registry(ZAGS), schemas=schemas, custom={"Zag": schema})
    component = document["components"]["schemas"]["io.x.v1.Zag"]
    assert set(component["properties"]) == {"apiVersion", "kind", "metadata", "spec"}


GENERATED = [
    "namespace n",
    "deployment web --image=nginx --image=side:1 --replicas=3 --port=80",
    "configmap c --from-literal=a=b --from-literal=x=",
    "secret generic s --from-literal=p=word",
    "serviceaccount sa",
    "service clusterip web --tcp=80:8080 --tcp=443",
    "service nodeport web --tcp=80:http",
    "service externalname web --external-name=a.b",
    "ingress i --rule=foo.com/bar*=svc:80,tls=x --default-backend=d:http --annotation=a=b",
    "rolebinding rb --role=r --user=u --serviceaccount=ns:sa",
    "clusterrole cr --verb=get --non-resource-url=/healthz",
    "quota q --hard=cpu=1,memory=1Gi",
    "poddisruptionbudget p --selector=a=b --min-available=50%",
    "priorityclass pc --value=100 --description=x",
]


@pytest.mark.parametrize("command", GENERATED, ids=lambda c: " ".join(c.split()[:2]))
def test_kubectls_protobuf_says_what_its_dry_run_prints(
    schemas: Schemas, kubectl: Any, recorder: tuple[str, list[tuple[str, bytes]]], command: str
) -> None:
    address, bodies = recorder
    bodies.clear()
    kubectl("create", *command.split(), "--server", address)
    printed = json.loads(
        kubectl("create", *command.split(), "--dry-run=client", "-o", "json", "--server", address).stdout
    )
    (kind, body) = bodies[-1]
    assert kind == "application/vnd.kubernetes.protobuf"
    node = schemas.for_kind(printed["apiVersion"], printed["kind"])
    assert node is not None
    sent, wanted = decode(decode_protobuf(body, schemas), node), decode(printed, node)
    for obj in (sent.obj, wanted.obj):
        obj["metadata"].pop("namespace", None)
    assert sent.obj == wanted.obj
    assert sent.unknown == []
    for end in range(len(body)):  # a body cut short is refused, or is a smaller object
        with contextlib.suppress(ProtobufError):
            decode_protobuf(body[:end], schemas)


@pytest.mark.parametrize(
    "body", [b"", b"{}", MAGIC, MAGIC + b"\xff" * 20, MAGIC + b"\n\x06\n\x02v1\x12\x00", MAGIC + b"\n\xff\x01"]
)
def test_a_body_that_is_no_protobuf_is_refused(schemas: Schemas, body: bytes) -> None:
    with pytest.raises(ProtobufError):
        decode_protobuf(body, schemas)
