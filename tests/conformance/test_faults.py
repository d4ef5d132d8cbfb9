"""An API server that is not ours in behaviour: what is ridden out, and what is said of the rest."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from faulty_server import Fault, FaultyServer, answer, answer_with, cut, dropped, events, slow

from meshlab import states as waits
from meshlab.access import Access
from meshlab.causes import causes
from meshlab.cluster import Cluster
from meshlab.errors import LabError, ManifestError, Rejected, WaitTimeout
from meshlab.follow import follow
from meshlab.real.cluster import RealCluster
from meshlab.real.contexts import Context
from meshlab.real.owned import LABELS
from meshlab.real.removal import remove_all
from meshlab.real.rules import definitions, sync
from meshlab.settings import Settings
from meshlab.states import Deployment, wait_ready

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def access(server: FaultyServer) -> Access:
    return Access(server.kubeconfig, patience=5.0, throttled=3.0, hint="meshlab preflight")


def engine(server: FaultyServer, tmp_path: Path) -> RealCluster:
    home = tmp_path / "home"
    home.mkdir()
    (home / "kubeconfig").write_text(server.kubeconfig.read_text())
    return RealCluster(Settings(home), Context("faulty", "faulty", f"https://127.0.0.1:{server.port}"))


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_asks_for_patience_is_obeyed(server: FaultyServer, access: Access, method: str) -> None:
    server.faults.append(Fault(f"{method} {CONFIG_MAPS}", answer(429, {"Retry-After": "1"}), times=2))
    body = config_map("patient") if method == "POST" else None
    access.request(method, CONFIG_MAPS, body=body)
    moments = [moment for moment, line in server.seen if line.startswith(f"{method} {CONFIG_MAPS}")]
    assert len(moments) == 3
    assert all(after - before >= 1.0 for before, after in pairwise(moments))
    if body:
        access.request("DELETE", f"{CONFIG_MAPS}/patient")


def test_a_server_that_asks_for_it_for_ever_is_given_up(server: FaultyServer, access: Access) -> None:
    server.faults.append(Fault("GET", answer(429, {"Retry-After": "2"}, message="too many requests"), times=-1))
    with pytest.raises(Rejected, match="too many requests") as caught:
        access.request("GET", CONFIG_MAPS)
    assert caught.value.code == 429
    assert len(server.seen) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_may_be_sent_twice_is_when_the_connection_breaks(
    server: FaultyServer, access: Access, kubernetes: Cluster, method: str
) -> None:
    made = kubernetes.kube.create(("v1", "configmaps", "default"), config_map(f"twice-{method.lower()}"))
    server.faults.append(Fault(method, dropped, times=2))
    access.request(method, f"{CONFIG_MAPS}/{made['metadata']['name']}", body=made if method == "PUT" else None)
    assert len(server.requests(method)) == 3


def test_what_may_not_is_left_and_said(server: FaultyServer, access: Access) -> None:
    server.faults.append(Fault("POST", dropped))
    with pytest.raises(LabError, match="does not answer") as caught:
        access.request("POST", CONFIG_MAPS, body=config_map("once"))
    assert caught.value.then == "meshlab preflight"
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize(("code", "body", "said"), [
    (502, b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
    (504, b"", "HTTP 504"),
    (403, b'{"kind": "Status", "reason": "Forbidden", "message": "no"}', "no"),
])  # fmt: skip
def test_a_refusal_is_read_whoever_on_the_way_it_comes_from(code: int, body: bytes, said: str) -> None:
    refused = Rejected.answer(code, body)
    assert (refused.code, refused.seen) == (code, said)


def test_a_server_that_restarts_is_waited_for(server: FaultyServer, access: Access) -> None:
    access.request("GET", CONFIG_MAPS)
    server.stop()
    timer = threading.Timer(0.5, server.start_again)
    timer.start()
    # Nobody could have taken it: even what may not be sent twice is sent again.
    access.request("POST", CONFIG_MAPS, body=config_map("after-the-restart"))
    timer.join()


def test_a_login_that_has_run_out_is_renewed_once(server: FaultyServer, access: Access) -> None:
    server.faults.append(Fault("GET", answer(401, reason="Unauthorized")))
    assert access.request("GET", CONFIG_MAPS).status == 200
    server.faults.append(Fault("GET", answer(401, reason="Unauthorized"), times=-1))
    with pytest.raises(Rejected) as caught:
        access.request("GET", CONFIG_MAPS)
    assert caught.value.code == 401


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(r"watch=true", dropped, times=2),
        Fault(r"watch=true", cut(10), times=2),
        Fault(r"watch=true", slow(0.3), times=-1),
        Fault(r"watch=true", answer(410, reason="Expired"), times=2),
        Fault(r"watch=true", events({"type": "ERROR", "object": GONE}), times=2),
        Fault(r"watch=true", answer(500, message="etcdserver: leader changed"), times=2),
    ],
    ids=["dropped", "cut", "slow", "410", "410 in the stream", "500"],
)
def test_whoever_waits_does_not_notice_what_happens_to_the_watch(
    server: FaultyServer, access: Access, kubernetes: Cluster, fault: Fault, request: pytest.FixtureRequest
) -> None:
    name = f"awaited-{server.port}"
    server.faults.append(Fault(fault.pattern, fault.deed, fault.times))
    seen = threading.Event()

    def create() -> None:
        seen.wait(60)
        kubernetes.kube.create(("v1", "configmaps", "default"), config_map(name))

    thread = threading.Thread(target=create)
    thread.start()
    for states in follow(access, CONFIG_MAPS, 20.0):
        seen.set()
        if ("default", name) in states:
            break
    else:
        pytest.fail("it was never seen")
    thread.join()


def test_a_watch_that_is_not_allowed_is_not_tried_again_and_again(server: FaultyServer, access: Access) -> None:
    server.faults.append(Fault("watch=true", answer(403, reason="Forbidden", message="no watching"), times=-1))
    with pytest.raises(LabError, match="not allowed to watch"):
        list(follow(access, CONFIG_MAPS, 5.0))
    assert len(server.requests("watch=true")) == 1


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    image = {"image": "nginx", "imageID": "", "ready": False, "restartCount": 0}
    return {"containerStatuses": [{"name": "c", "state": state, **image}]}


def unscheduled(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (waiting("ImagePullBackOff", "no such host"), "lost/c: ImagePullBackOff: no such host"),
        (waiting("CrashLoopBackOff", "back-off 40s"), "lost/c: CrashLoopBackOff: back-off 40s"),
        (unscheduled("0/3 nodes: Insufficient memory"), "lost: Unschedulable: 0/3 nodes: Insufficient memory"),
        (waiting("ContainerCreating", ""), "nobody says why"),
    ],
    ids=["image", "crash", "no room", "nothing yet"],
)
def test_what_is_not_ready_says_why(access: Access, kubernetes: Cluster, status: dict[str, Any], said: str) -> None:
    kube = kubernetes.kube
    labels = {"app": "lost"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "lost"}, "spec": spec}
    kube.create(("apps/v1", "deployments", "default"), document)
    made = kube.create(("v1", "pods", "default"), {**pod, "metadata": {"name": "lost", "labels": labels}})
    kube.replace(("v1", "pods", "default", "lost", "status"), {**made, "status": {**made["status"], **status}})
    found = "; ".join(causes(access, "default", "lost")) or "nobody says why"
    kube.delete(("apps/v1", "deployments", "default", "lost"))
    kube.delete(("v1", "pods", "default", "lost"), gracePeriodSeconds=0)
    assert said in found


def refused(access: Access, namespace: str) -> None:
    """Waits until the refusal of a Deployment's pods is stored: a busy machine takes its time for that."""
    for stored in follow(access, f"/apis/apps/v1/namespaces/{namespace}/deployments", 60.0):
        conditions = [each for found in stored.values() for each in found.get("status", {}).get("conditions", ())]
        if any(each["type"] == "ReplicaFailure" for each in conditions):
            return
    raise AssertionError("no refusal was stored")


def test_a_quota_that_forbids_pods_is_named(access: Access, kubernetes: Cluster) -> None:
    kube = kubernetes.kube
    kube.create(("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}})
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    kube.create(("v1", "resourcequotas", "full"), quota)
    labels = {"app": "crowd"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crowd"}, "spec": spec}
    kube.create(("apps/v1", "deployments", "full"), document)
    refused(access, "full")
    with pytest.raises(WaitTimeout) as caught:
        wait_ready(access, [Deployment("full", "crowd")], timeout=2.0, report=lambda line: None)
    assert "exceeded quota: none" in caught.value.why


def test_a_webhook_that_lets_no_pod_in_is_named_while_somebody_waits(
    access: Access, kubernetes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_SILENCE", 0.5)
    kube = kubernetes.kube
    labels = {"app": "judged"}
    kube.create(("v1", "namespaces"), {"metadata": {"name": "judged", "labels": labels}})
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "name": "images.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [rule],
        "namespaceSelector": {"matchLabels": labels}, "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
    }  # fmt: skip
    target = ("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations")
    kube.create(target, {"metadata": {"name": "judge"}, "webhooks": [webhook]})
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    kube.create(("apps/v1", "deployments", "judged"), {"metadata": {"name": "judged"}, "spec": spec})
    refused(access, "judged")
    said: list[str] = []
    with pytest.raises(WaitTimeout) as caught:
        wait_ready(access, [Deployment("judged", "judged")], timeout=2.0, report=said.append)
    kube.delete((*target, None, "judge"))
    cause = 'no pod could be made: Internal error occurred: failed calling webhook "images.example.com"'
    assert said[0].startswith(f"waiting: {cause}") and caught.value.why.startswith(cause)
    # Said once, not every time that somebody looks.
    assert len(said) == len(set(said))


def test_preflight_names_what_it_may_not_see(server: FaultyServer, tmp_path: Path) -> None:
    server.faults.append(Fault("GET /api/v1/nodes", answer(403, reason="Forbidden"), times=-1))
    found = engine(server, tmp_path).preflight()
    assert any("may not be listed: Node" in check.seen for check in found.checks)


def test_preflight_names_the_rights_that_are_missing(kubernetes: Cluster, tmp_path: Path) -> None:
    kube = kubernetes.kube
    kube.create(("v1", "serviceaccounts", "default"), {"metadata": {"name": "reader"}})
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [subject]}
    kube.create(("rbac.authorization.k8s.io/v1", "clusterrolebindings"), binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = kube.create(("v1", "serviceaccounts", "default", "reader", "token"), request)["status"]["token"]
    with FaultyServer(kubernetes.server, token, tmp_path) as server:
        reader = engine(server, tmp_path)
        found = reader.preflight()
        missing = [check.seen for check in found.missing if check.what == "rights"]
        assert any("create customresourcedefinitions.apiextensions.k8s.io (for install)" in each for each in missing)
        assert not any("list pods" in each for each in missing)
        assert not server.requests("^(PUT|PATCH|DELETE)")
        asking = ("selfsubjectaccessreviews", "dryRun=All")
        assert not [line for line in server.requests("^POST") if not any(each in line for each in asking)]


def test_a_namespace_that_cannot_be_looked_into_is_kept(
    server: FaultyServer, access: Access, kubernetes: Cluster
) -> None:
    metadata = {"name": "dark", "labels": dict(LABELS)}
    kubernetes.kube.create(("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    server.faults.append(Fault("GET /api/v1/namespaces/dark/secrets", answer(403, reason="Forbidden"), times=-1))
    said = "kept Namespace dark: not known as meshlab's are Secrets that may not be listed"
    assert said in remove_all(access, timeout=1.0)
    server.faults.clear()
    assert "Namespace dark" in remove_all(access, timeout=60.0)


def test_a_rule_whose_kind_is_not_defined_is_refused_before_anything_is_stored(
    server: FaultyServer, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match="RouteRule is not defined") as caught:
        engine(server, tmp_path).writer.apply([RULE])
    assert caught.value.then == "lab.install()"
    assert not server.requests("^(POST|PUT|PATCH|DELETE)")


def test_half_of_the_definitions_are_told_from_all(server: FaultyServer, kubernetes: Cluster, tmp_path: Path) -> None:
    labels = {"app": "istiod"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "discovery", "image": "istio/pilot:1.29"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    metadata = {"name": "istiod", "labels": labels}
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    kubernetes.kube.create(("apps/v1", "deployments", "default"), document)
    group = {"name": "networking.istio.io", "versions": [{"groupVersion": "networking.istio.io/v1", "version": "v1"}]}
    server.faults.append(Fault("GET /apis$", answer_with({"kind": "APIGroupList", "groups": [group]}), times=-1))
    found = engine(server, tmp_path).preflight()
    kubernetes.kube.delete(("apps/v1", "deployments", "default", "istiod"))
    seen = [check.seen for check in found.missing]
    assert "security.istio.io/v1 is not served: its CRDs are missing" in seen
    assert not any(each.startswith("networking.istio.io") for each in seen)
    assert "istiod is not ready" in seen
    assert "no webhook of default injects sidecars; the lessons need them" in seen


RULE = {
    "apiVersion": "config.istio.io/v1alpha2",
    "kind": "RouteRule",
    "metadata": {"name": "r"},
    "spec": {"destination": {"name": "svcb"}, "route": [{"labels": {"version": "v0.2"}}]},
}


def test_a_conversion_webhook_that_is_down_is_named_and_translations_stay(
    server: FaultyServer, access: Access, kubernetes: Cluster
) -> None:
    for each in definitions():
        kubernetes.kube.create(None, each)
    why = "conversion webhook for config.istio.io/v1alpha2, Kind=RouteRule failed: connection refused"
    server.faults.append(Fault("GET /apis/config.istio.io/v1alpha2/routerules", answer(500, message=why), times=-1))
    with pytest.raises(Rejected, match="conversion webhook"):
        sync(access)
    assert not server.requests("^(POST|PUT|PATCH|DELETE)")
