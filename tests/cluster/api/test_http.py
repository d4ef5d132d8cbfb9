"""Requests and answers, byte for byte where clients look at bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from meshlab.kube import Kube, Raw

Send = Callable[..., Raw]

MAPS = "/api/v1/namespaces/{ns}/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data or {"k": "v"}}


def status(raw: Raw) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(raw.data)
    assert body["kind"] == "Status"
    assert raw.status == body.get("code", 200)
    return body


def test_a_conflict_is_byte_for_byte_that_of_a_real_server(send: Send) -> None:
    send("POST", MAPS, config_map())
    assert send("POST", MAPS, config_map()).text == (
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \\"a\\" already '
        'exists","reason":"AlreadyExists","details":{"name":"a","kind":"configmaps"},"code":409}\n'
    )


@pytest.mark.parametrize(("method", "path", "body", "code", "reason", "message"), [
    ("GET", MAPS + "/no", None, 404, "NotFound", 'configmaps "no" not found'),
    ("GET", "/api/v1/namespaces/{ns}/gizmos", None, 404, "NotFound", "could not find the requested resource"),
    ("POST", "/api/v1/namespaces/no-such/configmaps", config_map(), 404, "NotFound", 'namespaces "no-such" not found'),
    ("POST", MAPS + "/a", config_map(), 405, "MethodNotAllowed", "the server does not allow this method"),
    ("POST", MAPS, {"kind": "Pod", "apiVersion": "v1"}, 400, "BadRequest", "cannot be handled as a ConfigMap"),
    ("POST", MAPS, b"{", 400, "BadRequest", "unexpected end of JSON input"),
    ("POST", MAPS + "?dryRun=Maybe", config_map(), 422, "Invalid", "Unsupported value"),
    ("POST", MAPS + "?fieldValidation=Loose", config_map(), 422, "Invalid", "fieldValidation"),
    ("GET", MAPS + "?limit=x", None, 400, "BadRequest", "invalid syntax"),
    ("GET", MAPS + "?continue=!", None, 400, "BadRequest", "invalid continue token: continue key is not valid: illegal "
     "base64 data at input byte 0"),
    ("GET", MAPS + "?resourceVersion=x", None, 400, "BadRequest", 'invalid resource version: resourceVersion: Invalid '
     'value: "x"'),
    ("GET", MAPS + "?resourceVersion=99999999", None, 504, "Timeout", "Too large resource version"),
    ("GET", MAPS + "?fieldSelector=a.b=c", None, 400, "BadRequest", "not a known field selector"),
    ("GET", "/api/v1/pods?fieldSelector=a.b=c", None, 400, "BadRequest", "field label not supported: a.b"),
    ("DELETE", "/api/v1/namespaces/default", None, 403, "Forbidden", "this namespace may not be deleted"),
    ("GET", "/api/v1/namespaces/{ns}/services/no/proxy/", None, 404, "NotFound", 'services "no" not found'),
])
def test_refusals(
    send: Send, method: str, path: str, body: Any, code: int, reason: str, message: str
) -> None:
    answer = status(send(method, path, body))
    assert (answer["code"], answer["reason"]) == (code, reason)
    assert message in answer["message"]


def test_paths_outside_of_any_group_are_text(send: Send) -> None:
    for path in ("/apis/nope.io/v1", "/nope", "/api/v9/pods"):
        raw = send("GET", path)
        assert (raw.status, raw.text) == (404, "404 page not found\n")


def test_nobody_enters_without_a_token(kube: Kube) -> None:
    raw = kube.raw("GET", "/api/v1/namespaces", headers={"Authorization": "Bearer guess"})
    assert (raw.status, json.loads(raw.data)["message"]) == (401, "Unauthorized")
    assert kube.raw("GET", "/readyz", headers={"Authorization": ""}).text == "ok"


def test_a_service_account_is_known_by_its_token_until_it_is_gone(kube: Kube, namespace: str) -> None:
    accounts = ("v1", "serviceaccounts", namespace)
    made = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}}
    kube.create(accounts, made)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/robot/token"
    request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
    token = kube.create(path, request)["status"]["token"]

    def who() -> Raw:
        body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return kube.raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", json.dumps(body), headers)

    user = json.loads(who().data)["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{namespace}:robot"
    kube.delete((*accounts, "robot"))
    assert who().status == 401


def test_pages_of_a_list_agree_with_each_other(send: Send) -> None:
    for n in range(5):
        send("POST", MAPS, config_map(f"m{n}"))
    first = json.loads(send("GET", MAPS + "?limit=2").data)
    assert first["metadata"]["remainingItemCount"] == 3
    send("DELETE", MAPS + "/m3")
    send("POST", MAPS, config_map("m9"))
    seen, token = list(first["items"]), first["metadata"]["continue"]
    while token:
        page = json.loads(send("GET", MAPS + f"?limit=2&continue={token}").data)
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        seen += page["items"]
        token = page["metadata"].get("continue", "")
    assert [item["metadata"]["name"] for item in seen] == ["m0", "m1", "m2", "m3", "m4"]


def test_a_write_that_changes_nothing_leaves_the_revision_alone(send: Send) -> None:
    made = json.loads(send("POST", MAPS, config_map()).data)
    again = json.loads(send("PUT", MAPS + "/a", config_map()).data)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    patched = json.loads(send("PATCH", MAPS + "/a", {"data": {"k": "v"}}, type="application/merge-patch+json").data)
    assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_a_status_cannot_be_written_with_the_object_nor_the_object_with_the_status(send: Send) -> None:
    pods = "/api/v1/namespaces/{ns}/pods"
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Running"},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    made = json.loads(send("POST", pods, pod).data)
    assert made["status"]["phase"] == "Pending"
    merge = "application/merge-patch+json"
    change = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Running"}}
    whole = json.loads(send("PATCH", pods + "/p", change, type=merge).data)
    assert (whole["status"]["phase"], whole["metadata"]["labels"]) == ("Pending", {"a": "b"})
    change = {"spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    part = json.loads(send("PATCH", pods + "/p/status", change, type=merge).data)
    assert part["status"]["phase"] == "Running" and "nodeName" not in part["spec"]
    assert part["metadata"]["generation"] == made["metadata"]["generation"]


def test_unknown_fields_warn_or_refuse(send: Send) -> None:
    wrong = {**config_map(), "dta": {}}
    assert send("POST", MAPS, wrong).headers["warning"] == '299 - "unknown field \\"dta\\""'
    strict = status(send("POST", MAPS + "?fieldValidation=Strict", {**config_map("b"), "dta": {}}))
    assert strict["message"].endswith('strict decoding error: unknown field "dta"')
    assert "warning" not in send("POST", MAPS + "?fieldValidation=Ignore", {**config_map("c"), "dta": {}}).headers


def test_yaml_comes_in_and_goes_out(send: Send) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {when: '2026-01-01'}\n"
    assert send("POST", MAPS, text, type="application/yaml").status == 201
    assert "when: '2026-01-01'" in send("GET", MAPS + "/y", accept="application/yaml").text


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;as=Nope"])
def test_what_nobody_can_render_is_406(send: Send, accept: str) -> None:
    assert status(send("GET", MAPS, accept=accept))["reason"] == "NotAcceptable"


def test_tables_and_metadata_in_all_forms(send: Send) -> None:
    send("POST", MAPS, config_map())
    table = json.loads(send("GET", MAPS, accept=TABLE).data)
    assert table["kind"] == "Table" and table["rows"][0]["cells"][:2] == ["a", 1]
    one = json.loads(send("GET", MAPS + "/a?includeObject=Object", accept=TABLE).data)
    assert one["rows"][0]["object"]["data"] == {"k": "v"}
    partial = json.loads(send("GET", MAPS + "/a", accept=PARTIAL).data)
    assert partial["kind"] == "PartialObjectMetadata" and "data" not in partial
    listed = json.loads(send("GET", MAPS, accept=PARTIAL_LIST).data)
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [i["metadata"]["name"] for i in listed["items"]] == ["a"]


def test_discovery_is_one_document_or_many(send: Send) -> None:
    raw = send("GET", "/apis", accept=AGGREGATED)
    assert raw.headers["content-type"] == AGGREGATED
    groups = {g["metadata"]["name"]: g for g in json.loads(raw.data)["items"]}
    resources = {r["resource"]: r for r in groups["apps"]["versions"][0]["resources"]}
    assert [s["subresource"] for s in resources["deployments"]["subresources"]] == ["scale", "status"]
    classic = json.loads(send("GET", "/apis/apps/v1").data)
    assert {"deployments", "deployments/scale"} <= {r["name"] for r in classic["resources"]}
    assert json.loads(send("GET", "/api").data)["versions"] == ["v1"]


def test_generated_names_and_dry_runs(send: Send) -> None:
    unnamed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}
    name = json.loads(send("POST", MAPS, unnamed).data)["metadata"]["name"]
    assert name.startswith("x-") and len(name) == 7
    dry = json.loads(send("POST", MAPS + "?dryRun=All", config_map("dry")).data)
    assert dry["metadata"]["uid"] and "resourceVersion" not in dry["metadata"]
    assert send("GET", MAPS + "/dry").status == 404


def test_preconditions_of_a_deletion(send: Send) -> None:
    made = json.loads(send("POST", MAPS, config_map()).data)
    wrong = status(send("DELETE", MAPS + "/a", {"preconditions": {"uid": "other"}}))
    assert wrong["reason"] == "Conflict" and "the UID in the precondition (other) does not match" in wrong["message"]
    right = {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert status(send("DELETE", MAPS + "/a", right))["details"]["uid"] == made["metadata"]["uid"]


def test_finalizers_hold_an_object_until_the_last_is_gone(send: Send) -> None:
    held = config_map()
    held["metadata"]["finalizers"] = ["lab.example.com/a"]
    send("POST", MAPS, held)
    assert json.loads(send("DELETE", MAPS + "/a").data)["metadata"]["deletionTimestamp"]
    assert send("GET", MAPS + "/a").status == 200
    send("PATCH", MAPS + "/a", {"metadata": {"finalizers": None}}, type="application/merge-patch+json")
    assert send("GET", MAPS + "/a").status == 404


def test_a_collection_is_deleted_by_selector(send: Send) -> None:
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        made = config_map(name)
        made["metadata"]["labels"] = {"l": label}
        send("POST", MAPS, made)
    send("DELETE", MAPS + "?labelSelector=l%3Dx")
    left = json.loads(send("GET", MAPS).data)["items"]
    assert [i["metadata"]["name"] for i in left] == ["b"]


def test_services_get_addresses_and_keep_them(send: Send) -> None:
    services = "/api/v1/namespaces/{ns}/services"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    made = json.loads(send("POST", services, service).data)
    address = made["spec"]["clusterIP"]
    assert address.startswith("127.105.")
    replaced = json.loads(send("PUT", services + "/s", service).data)
    assert replaced["spec"]["clusterIP"] == address
    moved = send("PATCH", services + "/s", {"spec": {"clusterIP": "1.2.3.4"}}, type="application/merge-patch+json")
    assert "may not change once set" in status(moved)["message"]
    other = {**service, "metadata": {"name": "t"}, "spec": {**service["spec"], "clusterIP": address}}  # type: ignore[dict-item]
    assert "provided IP is already allocated" in status(send("POST", services, other))["message"]
    open_ = {**service, "metadata": {"name": "u"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    assert 30000 <= json.loads(send("POST", services, open_).data)["spec"]["ports"][0]["nodePort"] < 32768


def test_another_uid_is_a_conflict_or_a_change_of_what_may_not_change(send: Send) -> None:
    maps, body = "/api/v1/namespaces/{ns}/configmaps", {"apiVersion": "v1", "kind": "ConfigMap"}
    send("POST", maps, {**body, "metadata": {"name": "u"}})
    put = status(send("PUT", maps + "/u", {**body, "metadata": {"name": "u", "uid": "other"}}))
    assert (put["code"], "UID in precondition: other, UID in object meta: " in put["message"]) == (409, True)
    patch = send("PATCH", maps + "/u", {"metadata": {"uid": "other"}}, type="application/merge-patch+json")
    told = status(patch)
    assert (told["code"], told["message"]) == (
        422, 'ConfigMap "u" is invalid: metadata.uid: Invalid value: "other": field is immutable')


def test_a_body_beyond_the_limit_is_413(send: Send) -> None:
    assert send("POST", MAPS, config_map("big", k="x" * (4 << 20))).status == 413
