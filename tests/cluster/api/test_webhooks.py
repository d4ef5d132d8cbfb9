"""Admission webhooks: programs that are asked about writes, over TLS, by address and through a service."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from webhook_lab import Hook

from meshlab.cluster import Cluster, Parts
from meshlab.errors import Rejected
from meshlab.kube import Informer, Kube, Raw

Object = dict[str, Any]
Send = Callable[..., Raw]


@pytest.fixture
def configure(kube: Kube, namespace: str) -> Iterator[Callable[..., None]]:
    """configure(kind, client, **fields of the webhook): asked about ConfigMaps of this test's namespace."""
    made: list[tuple[str, str, None, str]] = []

    def create(kind: str, client: Object, name: str = "first", **fields: Any) -> None:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}
        target = ("admissionregistration.k8s.io/v1", f"{kind}WebhookConfiguration", None, f"{name}-{namespace}")
        kube.create(target[:2], {
            "kind": target[1], "apiVersion": target[0], "metadata": {"name": target[3]},
            "webhooks": [{
                "name": f"{name}.hooks.io", "clientConfig": client, "rules": [rule], "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}, **fields,
            }],
        })  # fmt: skip
        made.append(target)

    yield create
    for target in made:
        kube.delete(target)


def config_map(name: str = "m", **labels: str) -> Object:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


def patching(*operations: Object) -> Object:
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": patch}


def maps(namespace: str, *rest: str) -> tuple[str, ...]:
    return ("v1", "ConfigMap", namespace, *rest)


def test_a_validating_webhook_refuses(kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]) -> None:
    hook.answer = lambda request: {"allowed": False, "status": {"message": "not today", "code": 403}}
    configure("Validating", hook.client("/check"))
    with pytest.raises(Rejected) as refused:
        kube.create(maps(namespace), config_map())
    assert refused.value.status["message"] == 'admission webhook "first.hooks.io" denied the request: not today'
    assert refused.value.status["code"] == 403
    request = hook.asked[0]
    assert (request["operation"], request["name"], request["namespace"]) == ("CREATE", "m", namespace)
    assert request["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert request["object"]["data"] == {"a": "1"} and request["oldObject"] is None
    assert request["userInfo"]["username"] == "kubernetes-admin" and request["dryRun"] is False


def test_a_refusal_without_words(kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]) -> None:
    hook.answer = lambda request: {"allowed": False}
    configure("Validating", hook.client())
    with pytest.raises(Rejected) as refused:
        kube.create(maps(namespace), config_map())
    assert refused.value.status["message"].endswith("denied the request without explanation")
    assert refused.value.status["code"] == 400


def test_mutating_webhooks_change_one_after_the_other(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    def answer(request: Object) -> Object:
        data = request["object"]["data"]
        return patching({"op": "add", "path": f"/data/n{len(data)}", "value": ",".join(sorted(data))})

    hook.answer = answer
    configure("Mutating", hook.client(), name="a", reinvocationPolicy="IfNeeded")
    configure("Mutating", hook.client(), name="b")
    made = kube.create(maps(namespace), config_map())
    assert made["data"] == {"a": "1", "n1": "a", "n2": "a,n1", "n3": "a,n1,n2"}
    assert kube.get(maps(namespace, "m"))["data"] == made["data"]
    assert len(hook.asked) == 3


def test_what_a_webhook_makes_is_validated(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    hook.answer = lambda request: patching({"op": "add", "path": "/data/no way", "value": "x"})
    configure("Mutating", hook.client())
    with pytest.raises(Rejected, match="a valid config key"):
        kube.create(maps(namespace), config_map())


def test_updates_patches_and_deletions_are_shown_with_what_was(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    kube.create(maps(namespace), config_map())
    configure("Validating", hook.client())
    kube.patch(maps(namespace, "m"), {"data": {"a": "2"}}, "merge")
    kube.delete(maps(namespace, "m"))
    update, delete = hook.asked
    assert (update["operation"], update["oldObject"]["data"], update["object"]["data"]) == (
        "UPDATE", {"a": "1"}, {"a": "2"},
    )
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"a": "2"})


def test_a_write_in_between_is_not_lost(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    kube.create(maps(namespace), config_map())

    def answer(request: Object) -> Object:
        if len(hook.asked) == 1:  # while this one waits, somebody else writes
            kube.patch(maps(namespace, "m"), {"metadata": {"labels": {"skip": "yes"}}, "data": {"b": "2"}}, "merge")
        return patching({"op": "add", "path": "/data/seen", "value": str(sorted(request["object"]["data"]))})

    hook.answer = answer
    skipped = {"matchExpressions": [{"key": "once", "operator": "Exists"}]}
    configure("Mutating", hook.client(), objectSelector=skipped)
    kube.patch(maps(namespace, "m"), {"metadata": {"labels": {"once": "1"}}, "data": {"c": "3"}}, "merge")
    assert kube.get(maps(namespace, "m"))["data"] == {"a": "1", "b": "2", "c": "3", "seen": "['a', 'b', 'c']"}


def test_an_update_of_something_that_moved_is_a_conflict(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    live = kube.create(maps(namespace), config_map())

    def answer(request: Object) -> Object:
        if len(hook.asked) == 1:
            kube.patch(maps(namespace, "m"), {"data": {"b": "2"}}, "merge")
        return {"allowed": True}

    hook.answer = answer
    configure("Validating", hook.client())
    with pytest.raises(Rejected) as refused:
        kube.replace(maps(namespace, "m"), {**live, "data": {"a": "9"}})
    assert refused.value.status["reason"] == "Conflict"


@pytest.mark.parametrize(("policy", "stored"), [("Ignore", True), ("Fail", False)])
def test_a_webhook_that_is_not_there(
    kube: Kube, namespace: str, configure: Callable[..., None], policy: str, stored: bool
) -> None:
    configure("Validating", {"service": {"name": "nobody", "namespace": namespace}}, failurePolicy=policy)
    if stored:
        kube.create(maps(namespace), config_map())
        return
    with pytest.raises(Rejected) as refused:
        kube.create(maps(namespace), config_map())
    assert refused.value.status["message"] == (
        'Internal error occurred: failed calling webhook "first.hooks.io": failed to call webhook: '
        f'Post "https://nobody.{namespace}.svc:443/?timeout=30s": services "nobody" not found'
    )
    assert refused.value.status["code"] == 500


def test_a_webhook_that_does_not_answer_in_time(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    go_on = threading.Event()

    def answer(request: Object) -> Object:
        go_on.wait(60)
        return {"allowed": True}

    hook.answer = answer
    configure("Validating", hook.client(), timeoutSeconds=1)
    try:
        with pytest.raises(Rejected, match="context deadline exceeded"):
            kube.create(maps(namespace), config_map())
    finally:
        go_on.set()


def test_a_webhook_is_known_by_its_certificate(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    other = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    configure("Validating", {**hook.client(), "caBundle": other})
    with pytest.raises(Rejected, match="failed to verify certificate"):
        kube.create(maps(namespace), config_map())


def test_selectors_keep_webhooks_from_what_they_do_not_mean(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    configure("Validating", hook.client(), objectSelector={"matchLabels": {"watched": "yes"}})
    kube.create(maps(namespace), config_map("a"))
    kube.create(maps(namespace), config_map("b", watched="yes"))
    kube.create(maps("default"), config_map("c", watched="yes"))
    kube.delete(maps("default", "c"))
    assert [request["name"] for request in hook.asked] == ["b"]


def test_conditions_are_looked_at_last(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    conditions = [
        {"name": "big", "expression": "object.data.a == '2'"},
        {"name": "not-robots", "expression": "!request.userInfo.username.startsWith('system:')"},
    ]
    configure("Validating", hook.client(), matchConditions=conditions)
    kube.create(maps(namespace), config_map("a"))
    kube.create(maps(namespace), {**config_map("b"), "data": {"a": "2"}})
    assert [request["name"] for request in hook.asked] == ["b"]


def test_a_dry_run_asks_only_webhooks_without_side_effects(
    send: Send, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    configure("Validating", hook.client(), sideEffects="None")
    assert send("POST", "/api/v1/namespaces/{ns}/configmaps?dryRun=All", config_map()).status == 201
    assert hook.asked[0]["dryRun"] is True and hook.asked[0]["options"]["kind"] == "CreateOptions"


def test_warnings_reach_the_client(
    send: Send, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    hook.answer = lambda request: {"allowed": True, "warnings": ["careful"]}
    configure("Validating", hook.client())
    answer = send("POST", "/api/v1/namespaces/{ns}/configmaps", config_map())
    assert answer.headers["warning"] == '299 - "careful"'


def test_a_rule_for_another_version_sees_the_object_in_that_version(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
    hook.answer = lambda request: patching({"op": "add", "path": "/spec/paused", "value": True})
    configure("Mutating", hook.client(), rules=[rule])
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "python:3"}]}}
    made = kube.create(("extensions/v1beta1", "Deployment", namespace), {
        "kind": "Deployment", "apiVersion": "extensions/v1beta1", "metadata": {"name": "d"},
        "spec": {"template": template},
    })  # fmt: skip
    assert made["apiVersion"] == "extensions/v1beta1" and made["spec"]["paused"] is True
    request = hook.asked[0]
    assert request["object"]["apiVersion"] == "apps/v1" and request["kind"]["group"] == "apps"
    assert request["requestKind"]["group"] == "extensions"


def test_scaling_shows_the_scale(kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "python:3"}]}}
    kube.create(("apps/v1", "Deployment", namespace), {
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    })  # fmt: skip
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/scale"], "operations": ["UPDATE"]}
    configure("Validating", hook.client(), rules=[rule])
    kube.patch(("apps/v1", "Deployment", namespace, "d", "scale"), {"spec": {"replicas": 3}}, "merge")
    request = hook.asked[0]
    assert (request["kind"]["kind"], request["subResource"]) == ("Scale", "scale")
    assert request["object"]["spec"] == {"replicas": 3}
    assert kube.get(("apps/v1", "Deployment", namespace, "d"))["spec"]["replicas"] == 3


def test_a_webhook_runs_behind_its_service(
    kube: Kube, namespace: str, hook: Hook, configure: Callable[..., None]
) -> None:
    kube.create(("v1", "Namespace"), {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "hooks"}})
    kube.create(("v1", "Service", "hooks"), {
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]},
    })  # fmt: skip
    kube.create(("v1", "Endpoints", "hooks"), {
        "kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "hook"},
        "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": hook.server.server_port}]}],
    })  # fmt: skip
    service = {"name": "hook", "namespace": "hooks", "path": "/validate"}
    configure("Validating", {"service": service, "caBundle": hook.ca})
    kube.create(maps(namespace), config_map())
    assert len(hook.asked) == 1


def test_what_controllers_make_is_shown_as_well(hook: Hook) -> None:
    """Sidecars are injected into the pods that a ReplicaSet's controller creates."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    with Cluster(parts=Parts.CONTROLLERS) as cluster:
        kube = cluster.kube
        for kind in ("Mutating", "Validating"):
            kube.create(("admissionregistration.k8s.io/v1", f"{kind}WebhookConfiguration"), {
                "kind": f"{kind}WebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1",
                "metadata": {"name": "w"},
                "webhooks": [{"name": "inject.hooks.io", "clientConfig": hook.client(f"/{kind}"), "rules": [rule],
                              "sideEffects": "None", "admissionReviewVersions": ["v1"]}],
            })  # fmt: skip

        def answer(request: Object) -> Object:
            if request.get("name"):
                return {"allowed": True}  # validating: it has its name by now
            return patching({"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "proxy"}})

        hook.answer = answer
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "python:3"}]}}
        kube.create(("apps/v1", "Deployment", "default"), {
            "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template},
        })  # fmt: skip
        informer = Informer(kube, ("v1", "Pod", "default"))
        seen: dict[str, list[str]] = {}
        three = threading.Event()

        def note(kind: str, pod: Object) -> None:
            seen[pod["metadata"]["name"]] = [c["name"] for c in pod["spec"]["containers"]]
            if len(seen) == 3:
                three.set()

        with informer:
            informer.start(note)
            assert three.wait(60)
    assert all(names == ["c", "side"] for names in seen.values()) and len(seen) == 3
    validated = {request["name"] for request in hook.asked if request.get("name")}
    assert validated == set(seen)
    assert hook.asked[0]["userInfo"]["username"] == "system:serviceaccount:kube-system:replicaset-controller"
