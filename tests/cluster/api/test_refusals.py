"""What a request is refused for before its object is looked at, and patches that cannot be applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from meshlab.kube import Kube, Raw

Send = Callable[..., Raw]
MAPS = "/api/v1/namespaces/{ns}/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{ns}/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
MERGE, STRATEGIC, OPERATIONS, APPLY = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


def config_map(**fields: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}, **fields}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}, "spec": spec}


def refusal(raw: Raw) -> tuple[int, str]:
    return raw.status, json.loads(raw.data)["message"]


LIST = 'ListOptions.meta.k8s.io "" is invalid: '
DELETE = 'DeleteOptions.meta.k8s.io "" is invalid: '
MATCH = "resourceVersionMatch: "


@pytest.mark.parametrize(("method", "query", "body", "message"), [
    ("GET", "resourceVersionMatch=Exact", None,
     LIST + MATCH + "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
    ("GET", "resourceVersion=0&resourceVersionMatch=Exact", None,
     LIST + MATCH + 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
    ("GET", "resourceVersion=1&resourceVersionMatch=Foo", None,
     LIST + MATCH + 'Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""'),
    ("GET", "sendInitialEvents=true", None,
     LIST + "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    ("GET", "watch=1&resourceVersionMatch=NotOlderThan", None,
     LIST + MATCH + "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
    ("DELETE", "", {"propagationPolicy": "Slowly"},
     DELETE + 'propagationPolicy: Unsupported value: "Slowly": supported values: "Foreground", "Background", '
     '"Orphan", "nil"'),
    ("DELETE", "", {"propagationPolicy": "Orphan", "orphanDependents": True},
     DELETE + 'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both '
     "set"),
    ("POST", "fieldManager=" + 129 * "m", config_map(),
     'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes'),
    ("POST", "fieldManager=a%01", config_map(),
     'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\u0001": invalid character U+0001 '
     "(at position 1)"),
])  # fmt: skip
def test_options_that_are_wrong(send: Send, method: str, query: str, body: Any, message: str) -> None:
    assert refusal(send(method, f"{MAPS}?{query}", body)) == (422, message)


@pytest.mark.parametrize(("kind", "patch", "code", "message"), [
    (MERGE, [], 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface "
                     "{}"),
    (OPERATIONS, {}, 400, "error decoding patch: json: cannot unmarshal object into Go value of type "
                          "[]handlers.jsonPatchOp"),
    (OPERATIONS, [{"op": "turn", "path": "/spec"}], 422,
     "the server rejected our request due to an error in our request"),
    (OPERATIONS, [{"op": "replace", "path": "/metadata/name", "value": "y"}], 400,
     "the name of the object (y) does not match the name on the URL (web)"),
    (STRATEGIC, {"spec": {"replicas": "x"}}, 422,
     ' "" is invalid: patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32'),
    (STRATEGIC, {"spec": {"template": {"spec": {"containers": "x"}}}}, 422,
     ' "" is invalid: patch: Invalid value: "map[spec:map[template:map[spec:map[containers:x]]]]": '
     "cannot restore slice from string"),
    (APPLY, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}, 400,
     "invalid object type: /v1, Kind=Pod"),
    (APPLY, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "{ns}"},
             "spec": {"template": {"spec": {"containers": [{"name": "main", "imagee": "x"}]}}}}, 400,
     "failed to create typed patch object ({ns}/web; apps/v1, Kind=Deployment): "
     '.spec.template.spec.containers[name="main"].imagee: field not declared in schema'),
    (APPLY, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
             "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, 400,
     "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.template.spec.containers: element 0: "
     'associative list with keys has an element that omits all key fields ["name"] (and doesn\'t have default values '
     "for any key fields)"),
    (APPLY, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
             "spec": {"replicas": "x", "template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}}, 400,
     "failed to create typed patch object (/web; apps/v1, Kind=Deployment): errors:\n"
     "  .spec.replicas: expected numeric (int or float), got string\n"
     '  .spec.template.spec.containers: duplicate entries for key [name="a"]'),
])  # fmt: skip
def test_patches_that_cannot_be_applied(
    send: Send, namespace: str, kind: str, patch: Any, code: int, message: str
) -> None:
    assert send("POST", DEPLOYMENTS, deployment()).status == 201
    body = json.loads(json.dumps(patch).replace("{ns}", namespace))
    query = "?fieldManager=me" if kind == APPLY else ""
    answer = send("PATCH", f"{DEPLOYMENTS}/web{query}", body, type=kind)
    assert refusal(answer) == (code, message.replace("{ns}", namespace))


def test_a_merge_patch_that_leaves_no_such_object_shows_it(send: Send) -> None:
    send("POST", DEPLOYMENTS, deployment())
    code, message = refusal(send("PATCH", DEPLOYMENTS + "/web", {"spec": {"replicas": "x"}}, type=MERGE))
    assert code == 422 and message.startswith(' "" is invalid: patch: Invalid value: "{\\"apiVersion\\":\\"apps/v1\\"')
    assert message.endswith("cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32")


def test_an_object_may_leave_its_kind_or_version_to_the_path(send: Send) -> None:
    assert send("POST", MAPS, {"kind": "ConfigMap", "metadata": {"name": "b"}}).status == 201
    assert send("POST", MAPS, {"metadata": {"name": "c"}}).status == 201
    code, message = refusal(send("POST", MAPS, {"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "d"}}))
    assert code == 400 and 'no kind "ConfigMap" is registered for version "v2"' in message


def test_finalizers_of_built_in_kinds_have_a_domain(send: Send) -> None:
    code, message = refusal(send("POST", MAPS, config_map(metadata={"name": "a", "finalizers": ["mine"]})))
    assert code == 422
    assert message == (
        'ConfigMap "a" is invalid: metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer '
        "name nor is it fully qualified"
    )


def test_an_update_without_a_name(send: Send) -> None:
    send("POST", MAPS, config_map())
    assert refusal(send("PUT", MAPS + "/a", config_map(metadata={}))) == (
        400, "the name of the object (a based on URL) was undeterminable: name must be provided")  # fmt: skip


def test_some_kinds_are_updated_from_a_known_revision_only(send: Send) -> None:
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}}
    assert send("POST", LEASES, lease).status == 201
    assert refusal(send("PUT", LEASES + "/l", lease)) == (
        422, 'leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified '
        "for an update")  # fmt: skip


def test_a_pod_with_a_node_says_which_account_it_runs_as_whoever_named_it(send: Send) -> None:
    spec = {"containers": [{"name": "c", "image": "x"}]}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "nameless"}, "spec": spec}
    assert send("POST", "/api/v1/namespaces/{ns}/pods", pod).status == 201
    binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "nameless"},
               "target": {"kind": "Node", "name": "some"}}  # fmt: skip
    assert send("POST", "/api/v1/namespaces/{ns}/pods/nameless/binding", binding).status == 201
    found = json.loads(send("GET", "/api/v1/namespaces/{ns}/pods/nameless").data)["spec"]
    assert (found["serviceAccountName"], found["serviceAccount"]) == ("default", "default")


def test_a_pod_needs_the_service_account_that_it_names(send: Send, namespace: str) -> None:
    spec = {"serviceAccountName": "nobody", "containers": [{"name": "c", "image": "x"}]}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec}
    why = f'error looking up service account {namespace}/nobody: serviceaccount "nobody" not found'
    assert refusal(send("POST", "/api/v1/namespaces/{ns}/pods", pod)) == (403, f'pods "p" is forbidden: {why}')


def test_node_ports_are_of_their_range_and_one_service_s_own(send: Send) -> None:
    path = "/api/v1/namespaces/{ns}/services"

    def service(name: str, number: int) -> dict[str, Any]:
        spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]}
        return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}

    why = "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
    code, message = refusal(send("POST", path, service("low", 80)))
    assert code == 422 and why in message
    made = send("POST", path, service("first", 30123))
    assert made.status == 201
    code, message = refusal(send("POST", path, service("second", 30123)))
    assert code == 422 and message.endswith("Invalid value: 30123: provided port is already allocated")
    assert send("PUT", path + "/first", json.loads(made.data)).status == 200


def test_discovery_says_how_kinds_are_stored(kube: Kube) -> None:
    listed = json.loads(kube.raw("GET", "/apis/apps/v1").data)["resources"]
    (found,) = [entry for entry in listed if entry["name"] == "deployments"]
    # What every cluster that stores deployments as apps/v1 says.
    assert found["storageVersionHash"] == "8aSe+NMegvE=" and found["shortNames"] == ["deploy"]
    assert all(("storageVersionHash" in entry) is ("/" not in entry["name"]) for entry in listed)


def test_a_table_of_a_scale(send: Send) -> None:
    send("POST", DEPLOYMENTS, deployment(replicas=2))
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    shown = json.loads(send("GET", DEPLOYMENTS + "/web/scale", accept=table).data)
    assert [head["name"] for head in shown["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert shown["rows"][0]["cells"][:3] == ["web", 2, 0]
    code, message = refusal(send("GET", DEPLOYMENTS + "?includeObject=All", accept=table))
    assert code == 400
    assert message.endswith("""Invalid value: "All": must be 'Metadata', 'Object', 'None', or empty""")
