"""What the preflight says of clusters as they are: rights, policies, meshes of others. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import Fault, FaultyServer, answer, answer_with

from meshlab.access import Access
from meshlab.cluster import Cluster
from meshlab.errors import LabError
from meshlab.kube import Kube
from meshlab.real import istio
from meshlab.real.found import look
from meshlab.real.inforce import Istiod
from meshlab.real.preflight import Preflight, preflight
from meshlab.sidecars.sidecars import Pod, Sidecars
from meshlab.sidecars.syncz import control_planes

HOOKS = ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")


@pytest.fixture
def access(server: FaultyServer) -> Access:
    return Access(server.kubeconfig, patience=5.0, hint="meshlab preflight")


def lines(found: Preflight, what: str) -> list[str]:
    """Level, what was seen and what to do, of the checks of this kind."""
    return [f"{each.level.value}: {each.seen} → {each.then}" for each in found.checks if each.what == what]


def istiod(kubernetes: Cluster, *, revision: str = "", env: dict[str, str] | None = None) -> str:
    """A Deployment as Istio's chart makes one, in default; its name."""
    name = f"istiod-{revision}" if revision else "istiod"
    labels = {"app": "istiod", "istio.io/rev": revision or "default"}
    container = {
        "name": "discovery", "image": "istio/pilot:1.29.1",
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
    }  # fmt: skip
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    metadata = {"name": name, "labels": labels}
    kubernetes.kube.create(("apps/v1", "deployments", "default"), {"metadata": metadata, "spec": spec})
    return name


def hook(name: str, config: dict[str, Any], policy: str = "Ignore", **labels: str) -> dict[str, Any]:
    """A webhook for pods that ask for a sidecar."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        "metadata": {"name": name, "labels": labels},
        "webhooks": [{
            "name": "rev.namespace.sidecar-injector.istio.io", "clientConfig": config, "rules": [rule],
            "failurePolicy": policy, "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        }],
    }  # fmt: skip


@pytest.fixture
def made(kubernetes: Cluster) -> Iterator[list[tuple[str, ...]]]:
    """What a test makes, to be deleted after it."""
    targets: list[tuple[str, ...]] = []
    yield targets
    for each in targets:
        kubernetes.kube.delete(each)


def test_a_mesh_configuration_that_cannot_be_read_is_not_taken_for_the_defaults(
    server: FaultyServer, access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    made.append(("apps/v1", "deployments", "default", istiod(kubernetes)))
    server.faults.append(Fault("configmaps/istio$", answer(403, reason="Forbidden", message="not for you"), times=-1))
    (said,) = lines(preflight(access, "here"), "mesh")
    assert said.startswith("note: its configuration cannot be read, ConfigMap default/istio: not for you")
    assert said.endswith("→ kubectl auth can-i get configmaps -n default")
    server.faults.clear()
    kubernetes.kube.create(("v1", "configmaps", "default"), {"metadata": {"name": "istio"}, "data": {"mesh": "a: ["}})
    made.append(("v1", "configmaps", "default", "istio"))
    (said,) = lines(preflight(access, "here"), "mesh")
    assert "ConfigMap default/istio is no YAML" in said


def test_each_revision_has_its_own_webhooks_and_configuration(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    for revision, mode in (("blue", "REGISTRY_ONLY"), ("green", "ALLOW_ANY")):
        made.append(("apps/v1", "deployments", "default", istiod(kubernetes, revision=revision)))
        data = {"mesh": f"outboundTrafficPolicy: {{mode: {mode}}}"}
        kubernetes.kube.create(
            ("v1", "configmaps", "default"), {"metadata": {"name": f"istio-{revision}"}, "data": data}
        )
        made.append(("v1", "configmaps", "default", f"istio-{revision}"))
        service = {"namespace": "default", "name": f"istiod-{revision}", "path": "/inject"}
        kubernetes.kube.create(HOOKS, hook(f"injector-{revision}", {"service": service}, **{"istio.io/rev": revision}))
        made.append((*HOOKS, None, f"injector-{revision}"))  # type: ignore[arg-type]
    assert [(each.revision, each.injectors, each.mesh.outbound) for each in look(access).istios] == [
        ("blue", ("injector-blue",), "REGISTRY_ONLY"),
        ("green", ("injector-green",), "ALLOW_ANY"),
    ]


def test_an_istiod_without_debug_pages_is_told_from_one_with(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    made.append(("apps/v1", "deployments", "default", istiod(kubernetes, env={"ENABLE_DEBUG_ON_HTTP": "false"})))
    (said,) = lines(preflight(access, "here"), "debug pages")
    assert said.startswith("missing: istiod shows no debug pages (ENABLE_DEBUG_ON_HTTP=false)")


def test_an_istio_that_is_there_decides_itself_which_kubernetes_will_do(
    server: FaultyServer, access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    server.faults.append(Fault("GET /version", answer_with({"gitVersion": "v1.30.4-gke.7"}), times=-1))
    (said,) = lines(preflight(access, "here"), "kubernetes")
    assert said.startswith("missing: v1.30.4-gke.7; Istio 1.30.3 wants 1.32 or newer")
    made.append(("apps/v1", "deployments", "default", istiod(kubernetes)))
    assert lines(preflight(access, "here"), "kubernetes") == ["ok: v1.30.4-gke.7 → "]


def test_only_the_pods_of_its_revision_are_asked(server: FaultyServer, access: Access) -> None:
    def pod(name: str, **labels: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "labels": {"app": "istiod", **labels}}, "status": {"phase": "Running"}}

    pods = [pod("blue", **{"istio.io/rev": "blue"}), pod("green", **{"istio.io/rev": "green"}), pod("old")]
    listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": pods}
    server.faults.append(Fault("GET /api/v1/namespaces/mesh/pods", answer_with(listed), times=-1))
    assert Istiod(access, "mesh", "istiod-blue", "blue").pods() == ["blue", "old"]


def test_proxy_status_finds_an_istiod_of_a_revision() -> None:
    sidecars = Sidecars(Kube("http://127.0.0.1:1"))
    sidecars.__dict__["pods"] = (
        Pod("mesh", "istiod-blue-1", "", {"app": "istiod", "istio": "istiod"}, programs=("discovery",)),
        Pod("mesh", "istio-pilot-1", "", {"istio": "pilot"}, programs=("discovery",)),
        Pod("mesh", "grafana-1", "", {"app": "grafana"}, programs=("grafana",)),
    )
    assert [each.name for each in control_planes(sidecars, "mesh")] == ["istiod-blue-1", "istio-pilot-1"]


def test_a_mesh_that_is_run_from_outside_gets_no_second_istio(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    kubernetes.kube.create(HOOKS, hook("istiod-managed", {"url": "https://127.0.0.1:1/inject/ISTIO"}))
    made.append((*HOOKS, None, "istiod-managed"))  # type: ignore[arg-type]
    (said,) = lines(preflight(access, "here"), "istio")
    assert said.startswith("missing: a control plane outside the cluster injects here (istiod-managed)")
    with pytest.raises(LabError, match="nothing was installed"):
        install(access)


def install(access: Access) -> None:
    istio.install(access, version="1.30.3", charts=None, parts=[], change=False, timeout=1.0, report=print)


def test_nothing_is_installed_where_nobody_may_say_whether_there_is_an_istio(
    server: FaultyServer, access: Access
) -> None:
    server.faults.append(Fault("GET /apis/apps/v1/deployments", answer(403, reason="Forbidden"), times=-1))
    with pytest.raises(LabError, match="nobody may say whether Istio is there"):
        install(access)


SECURITY = 'pods "meshlab-preflight" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities'
DENIED = 'admission webhook "validation.gatekeeper.sh" denied the request: images must come from registry.example.com'
RIGHTS = 'pods is forbidden: User "me" cannot create resource "pods" in API group "" in the namespace "default"'


@pytest.mark.parametrize(("message", "then"), [
    (SECURITY, "CNI plug-in"), (DENIED, "validatingwebhookconfigurations"), (RIGHTS, ""),
], ids=["Pod Security", "a policy", "no right to make pods, which Deployments do"])  # fmt: skip
def test_a_pod_that_would_not_be_let_in_says_why(server: FaultyServer, access: Access, message: str, then: str) -> None:
    server.faults.append(Fault("POST .*/pods.dryRun=All", answer(403, reason="Forbidden", message=message), times=-1))
    found = lines(preflight(access, "here"), "pods")
    if not then:
        assert found == []
        return
    (said,) = found
    assert said.startswith(f"missing: one of the lessons would not be let into default: {message}") and then in said


def test_a_quota_that_is_used_up_is_known_before_anything_is_installed(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
    kubernetes.kube.create(("v1", "resourcequotas", "default"), quota)
    made.append(("v1", "resourcequotas", "default", "full"))
    (said,) = lines(preflight(access, "here"), "pods")
    assert "exceeded quota: full" in said and said.endswith("→ kubectl describe quota -n default")


def test_a_webhook_that_is_down_is_known_before_anything_is_installed(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    kubernetes.kube.create(HOOKS, hook("policies", {"url": "https://127.0.0.1:1/check"}, policy="Fail"))
    made.append((*HOOKS, None, "policies"))  # type: ignore[arg-type]
    (said,) = lines(preflight(access, "here"), "pods")
    assert "failed calling webhook" in said and "mutatingwebhookconfigurations" in said


def test_an_injector_that_injects_nothing_is_known_before_the_first_lesson(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]]
) -> None:
    made.append(("apps/v1", "deployments", "default", istiod(kubernetes)))
    service = {"namespace": "default", "name": "istiod", "path": "/inject"}
    kubernetes.kube.create(HOOKS, hook("injector", {"service": service}))
    made.append((*HOOKS, None, "injector"))  # type: ignore[arg-type]
    (said,) = lines(preflight(access, "here"), "injection")
    assert said.startswith("missing: a pod that asks for a sidecar would get none in default")


def allowed(yes: bool) -> dict[str, Any]:
    return {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": {"allowed": yes}}


def test_a_port_forward_does_in_the_place_of_a_proxy_that_is_forbidden(
    server: FaultyServer, access: Access, kubernetes: Cluster, tmp_path: Path
) -> None:
    kube = kubernetes.kube
    rbac = "rbac.authorization.k8s.io/v1"
    kube.create(("v1", "serviceaccounts", "default"), {"metadata": {"name": "some"}})
    rules = [
        {"apiGroups": ["*"], "resources": ["namespaces", "pods", "pods/portforward", "deployments"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]
    kube.create((rbac, "clusterroles"), {"metadata": {"name": "some"}, "rules": rules})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "some"}
    subjects = [{"kind": "ServiceAccount", "name": "some", "namespace": "default"}]
    kube.create((rbac, "clusterrolebindings"), {"metadata": {"name": "some"}, "roleRef": ref, "subjects": subjects})
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = kube.create(("v1", "serviceaccounts", "default", "some", "token"), wanted)["status"]["token"]
    with FaultyServer(kubernetes.server, token, tmp_path) as other:
        found = lines(preflight(Access(other.kubeconfig, patience=5.0), "here"), "rights")
    taken = [each for each in found if each.startswith("note")]
    assert [each.partition(": ")[2].partition(" (")[0] for each in taken] == [
        "not allowed: get services/proxy in client",
        "not allowed: create services/proxy in client",
        "not allowed: get services/proxy in istio-system",
        "not allowed: create pods/exec",
    ]
    assert all("a port-forward takes its place" in each for each in taken)
    assert "missing: not allowed: create customresourcedefinitions.apiextensions.k8s.io (for install)" in "".join(found)


def test_less_is_asked_of_rights_where_istio_is_somebody_elses(
    access: Access, kubernetes: Cluster, made: list[tuple[str, ...]], server: FaultyServer
) -> None:
    server.faults.append(Fault("selfsubjectaccessreviews", answer_with(allowed(False)), times=-1))
    before = len(lines(preflight(access, "here"), "rights"))
    made.append(("apps/v1", "deployments", "default", istiod(kubernetes)))
    found = lines(preflight(access, "here"), "rights")
    assert len(found) < before
    assert not any("webhookconfigurations" in each or "istio-system" in each for each in found)
    assert any("create deployments.apps in meshlab" in each for each in found)
