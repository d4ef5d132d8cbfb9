"""The official client: what notebooks and learners' programs do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch

from meshlab.cluster import Cluster


@pytest.fixture
def official(cluster: Cluster) -> Iterator[Any]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    made.configuration.no_proxy = "*"
    with made:
        yield made


def test_a_pod_is_created_read_patched_listed_and_deleted(official: Any, namespace: str) -> None:
    core = client.CoreV1Api(official)
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", labels={"a": "b"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="busybox", args=["sleep", "1"])]),
    )
    made = core.create_namespaced_pod(namespace, pod)
    assert made.metadata.uid and made.status.phase == "Pending" and made.spec.restart_policy == "Always"
    core.patch_namespaced_pod("p", namespace, {"metadata": {"labels": {"c": "d"}}})
    listed = core.list_namespaced_pod(namespace, label_selector="c=d", field_selector="metadata.name=p")
    assert [p.metadata.labels for p in listed.items] == [{"a": "b", "c": "d"}]
    gone = core.delete_namespaced_pod("p", namespace)
    assert gone.metadata.name == "p"
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_pod("p", namespace)
    assert caught.value.status == 404


def test_other_kinds_answer_a_deletion_with_a_status(official: Any, namespace: str) -> None:
    core = client.CoreV1Api(official)
    core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata={"name": "m"}, data={"a": "b"}))
    assert core.delete_namespaced_config_map("m", namespace)["status"] == "Success"


def test_a_watch_follows_a_list(official: Any, namespace: str) -> None:
    core = client.CoreV1Api(official)
    since = core.list_namespaced_config_map(namespace).metadata.resource_version
    for name in ("a", "b"):
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata={"name": name}))
    watcher, seen = watch.Watch(), []
    for event in watcher.stream(
        core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=60
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            watcher.stop()
    assert seen == [("ADDED", "a"), ("ADDED", "b")]


def test_scale_and_server_side_apply(official: Any, namespace: str) -> None:
    apps = client.AppsV1Api(official)
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    apps.create_namespaced_deployment(namespace, {
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    })
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 4}})
    assert apps.read_namespaced_deployment_scale("web", namespace).spec.replicas == 4
    resources = dynamic.DynamicClient(official).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "1"}}
    resources.server_side_apply(body, namespace=namespace, field_manager="one")
    with pytest.raises(dynamic.exceptions.ConflictError):
        resources.server_side_apply({**body, "data": {"k": "2"}}, namespace=namespace, field_manager="two")
    forced = resources.server_side_apply(
        {**body, "data": {"k": "2"}}, namespace=namespace, field_manager="two", force_conflicts=True
    )
    assert forced.data.k == "2"


def test_the_dynamic_client_finds_custom_kinds(official: Any, namespace: str) -> None:
    group = f"{namespace}.example.org"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    client.ApiextensionsV1Api(official).create_custom_resource_definition({
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    })
    things = dynamic.DynamicClient(official).resources.get(api_version=f"{group}/v1", kind="Thing")
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t"}, "n": 1}
    things.create(thing, namespace=namespace)
    assert [t.n for t in things.get(namespace=namespace).items] == [1]


def test_the_version_and_the_groups(official: Any) -> None:
    assert client.VersionApi(official).get_code().major == "1"
    assert "apps" in [g.name for g in client.ApisApi(official).get_api_versions().groups]
