"""Custom resources: served when their definition is, gone when it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from meshlab.errors import Rejected
from meshlab.kube import Kube, Raw

Send = Callable[..., Raw]


def definition(group: str, version: str = "v1") -> dict[str, Any]:
    names = {"plural": "zags", "singular": "zag", "kind": "Zag", "listKind": "ZagList", "shortNames": ["zg"]}
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object", "required": ["mode"],
                "properties": {
                    "mode": {"type": "string", "enum": ["fast", "safe"]},
                    "size": {"type": "integer", "default": 3, "maximum": 10},
                },
            },
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"zags.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [{
            "name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }]},
    }


@pytest.fixture
def group(kube: Kube, namespace: str) -> str:
    group = f"{namespace}.example.com"
    kube.create(("apiextensions.k8s.io/v1", "customresourcedefinitions"), definition(group))
    return group


def zag(group: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Zag", "metadata": {"name": "z"}, "spec": {"mode": "fast", **spec}}


def test_a_definition_is_established_at_once(kube: Kube, group: str) -> None:
    crd = kube.get(("apiextensions.k8s.io/v1", "customresourcedefinitions", None, f"zags.{group}"))
    assert {c["type"]: c["status"] for c in crd["status"]["conditions"]} == {
        "NamesAccepted": "True", "Established": "True",
    }
    assert crd["status"]["storedVersions"] == ["v1"]
    assert crd["status"]["acceptedNames"]["kind"] == "Zag"


def test_objects_are_stored_listed_and_deleted(kube: Kube, group: str, namespace: str) -> None:
    target = (f"{group}/v1", "Zag", namespace)
    made = kube.create(target, zag(group))
    assert made["metadata"]["generation"] == 1
    assert [i["kind"] for i in kube.list(target)["items"]] == ["Zag"]
    assert kube.delete((*target, "z"))["status"] == "Success"


def test_the_schema_fills_in_cuts_off_and_refuses(kube: Kube, group: str, namespace: str) -> None:
    target = (f"{group}/v1", "Zag", namespace)
    made = kube.create(target, zag(group, extra=1))
    assert made["spec"] == {"mode": "fast", "size": 3}
    with pytest.raises(Rejected) as caught:
        kube.create(target, {**zag(group, mode="odd"), "metadata": {"name": "y"}})
    assert caught.value.code == 422
    assert 'spec.mode: Unsupported value: "odd": supported values: "fast", "safe"' in str(caught.value)


def test_an_update_must_name_its_revision(kube: Kube, group: str, namespace: str) -> None:
    kube.create((f"{group}/v1", "Zag", namespace), zag(group))
    with pytest.raises(Rejected, match="Invalid value: 0: must be specified"):
        kube.replace((f"{group}/v1", "Zag", namespace, "z"), zag(group))


def test_status_has_a_life_of_its_own(send: Send, group: str) -> None:
    path = f"/apis/{group}/v1/namespaces/{{ns}}/zags"
    send("POST", path, {**zag(group), "status": {"ready": True}})
    assert "status" not in json.loads(send("GET", path + "/z").data)
    merge = "application/merge-patch+json"
    change = {"status": {"ready": True}, "spec": {"size": 9}}
    changed = json.loads(send("PATCH", path + "/z/status", change, type=merge).data)
    assert (changed["status"], changed["spec"]["size"], changed["metadata"]["generation"]) == ({"ready": True}, 3, 1)


def test_the_objects_go_with_their_definition(kube: Kube, send: Send, group: str) -> None:
    path = f"/apis/{group}/v1/namespaces/{{ns}}/zags"
    send("POST", path, zag(group))
    kube.delete(("apiextensions.k8s.io/v1", "customresourcedefinitions", None, f"zags.{group}"))
    raw = send("GET", path)
    assert (raw.status, raw.text) == (404, "404 page not found\n")
    kube.create(("apiextensions.k8s.io/v1", "customresourcedefinitions"), definition(group))
    assert json.loads(send("GET", path).data)["items"] == []


def test_names_that_are_taken_are_not_accepted(kube: Kube, group: str) -> None:
    other = definition(group)
    other["metadata"]["name"] = f"zigs.{group}"
    other["spec"]["names"] |= {"plural": "zigs", "singular": "zig", "listKind": "ZigList", "shortNames": []}
    crds = ("apiextensions.k8s.io/v1", "customresourcedefinitions")
    kube.create(crds, other)
    conditions = kube.get((*crds, None, f"zigs.{group}"))["status"]["conditions"]
    assert [(c["type"], c["status"]) for c in conditions] == [("NamesAccepted", "False"), ("Established", "False")]


def test_a_definition_of_2018_is_served(send: Send, namespace: str) -> None:
    group = f"old.{namespace}.io"
    old = {
        "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"rules.{group}"},
        "spec": {
            "group": group, "version": "v1alpha2", "scope": "Namespaced",
            "names": {"kind": "Rule", "listKind": "RuleList", "plural": "rules", "singular": "rule"},
        },
    }
    raw = send("POST", "/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions", old)
    assert raw.status == 201, raw.text
    rule = {"apiVersion": f"{group}/v1alpha2", "kind": "Rule", "metadata": {"name": "r"}, "spec": {"any": [1]}}
    made = send("POST", f"/apis/{group}/v1alpha2/namespaces/{{ns}}/rules", rule)
    assert json.loads(made.data)["spec"] == {"any": [1]}
    again = send("GET", f"/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions/rules.{group}")
    assert json.loads(again.data)["spec"]["version"] == "v1alpha2"


def test_rules_are_kept(kube: Kube, namespace: str) -> None:
    group = f"{namespace}.rules.example.com"
    made = definition(group)
    schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["x-kubernetes-validations"] = [
        {"rule": "!has(self.size) || !has(oldSelf.size) || self.size >= oldSelf.size", "message": "it only grows"},
        {"rule": "!has(self.size) || self.size != 13", "messageExpression": "'not ' + string(self.size)"},
    ]
    crds = ("apiextensions.k8s.io/v1", "customresourcedefinitions")
    kube.create(crds, made)
    where = (f"{group}/v1", "zags", namespace)
    kube.create(where, zag(group, size=3))
    with pytest.raises(Rejected, match='spec: Invalid value: "object": it only grows'):
        kube.patch((*where, "z"), {"spec": {"size": 2}}, "merge")
    with pytest.raises(Rejected, match='spec: Invalid value: "object": not 13'):
        kube.patch((*where, "z"), {"spec": {"size": 13}}, "merge")
    kube.patch((*where, "z"), {"spec": {"size": 4}}, "merge")
    broken = definition(f"b.{group}")
    broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [{"rule": "self."}]
    with pytest.raises(Rejected, match=r"x-kubernetes-validations\[0\].rule: Invalid value: .* compilation failed"):
        kube.create(crds, broken)
    kube.delete((*crds, None, f"zags.{group}"))
