"""The patches that need no manager."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlab.cluster.api.patch import PatchError, json_patch, merge_patch
from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.strategic import strategic_merge

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "finalizers": ["a/a", "b/b"]},
    "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "a",
                        "image": "x",
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "ports": [{"containerPort": 80}],
                    },
                    {"name": "b"},
                    {"name": "c"},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
            }
        },
    },
}


def in_pod(**patch: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": patch}}}


@pytest.mark.parametrize(
    ("obj", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": {"b/c": 1}}, [{"op": "remove", "path": "/a/b~1c"}], {"a": {}}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
    ],
)
def test_json_patch_operations_of_the_rfc(obj: Any, operations: Any, result: Any) -> None:
    before = json.dumps(obj)
    assert json_patch(obj, operations) == result
    assert json.dumps(obj) == before


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"op": "test", "path": "/a", "value": True}, "Invalid"),
        ({"op": "remove", "path": "/missing"}, "Invalid"),
        ({"op": "replace", "path": "/missing", "value": 1}, "Invalid"),
        ({"op": "add", "path": "/list/9", "value": 1}, "Invalid"),
        ({"op": "add", "path": "/list/x", "value": 1}, "Invalid"),
        ({"op": "add", "value": 1}, "Invalid"),
        ({"op": "move", "from": "/list", "path": "/list/0"}, "Invalid"),
        ({"op": "frobnicate", "path": "/a"}, "Invalid"),
        ("remove", "BadRequest"),
    ],
)
def test_json_patch_that_does_not_fit_is_refused(operation: Any, reason: str) -> None:
    with pytest.raises(PatchError) as refused:
        json_patch({"a": 1, "list": []}, [operation])
    assert refused.value.reason == reason


def test_merge_patch_deletes_with_null_and_replaces_lists() -> None:
    patch = {"a": None, "b": {"c": 1, "x": {"y": None}}, "l": [1]}
    assert merge_patch({"a": 1, "b": {"d": 2}, "l": [2, 3]}, patch) == {"b": {"d": 2, "c": 1, "x": {}}, "l": [1]}


STRATEGIC = {
    "a new container comes first": in_pod(containers=[{"name": "z"}, {"name": "b", "image": "q"}]),
    "retainKeys drops the others": {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
    "retainKeys of a volume": in_pod(
        volumes=[{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "x"}, "emptyDir": None}]
    ),
    "an order, and a deletion deep inside": in_pod(
        **{
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "a", "env": [{"name": "B", "$patch": "delete"}]}],
        }
    ),
    "a primitive list loses and gains": {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"], "finalizers": ["q/q"]}
    },
    "a list replaced": in_pod(containers=[{"$patch": "replace"}, {"name": "n"}]),
    "a map replaced": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"a": "b"}}}}},
    "nulls of what is not there": {"metadata": {"labels": {"a": None, "b": "1"}, "annotations": None}},
    "an element without its key": in_pod(containers=[{"image": "n"}]),
    "an order that the list does not follow": in_pod(
        **{"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "q"}]}
    ),
}


@pytest.mark.parametrize("patch", list(STRATEGIC.values()), ids=list(STRATEGIC))
def test_strategic_merge_is_kubectls(
    patch: dict[str, Any], schemas: Schemas, patch_local: Callable[..., Any]
) -> None:
    node = schemas.for_kind("apps/v1", "Deployment")
    assert node is not None
    before = json.dumps([DEPLOYMENT, patch])
    result: Any
    try:
        result = strategic_merge(DEPLOYMENT, patch, node)
    except PatchError as error:
        result = str(error).strip()
    assert result == patch_local(DEPLOYMENT, patch)
    assert json.dumps([DEPLOYMENT, patch]) == before


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


def containers(directives: bool) -> st.SearchStrategy[list[dict[str, Any]]]:
    env = st.lists(
        st.fixed_dictionaries({"name": NAMES, "value": st.sampled_from(["1", "2"])}),
        max_size=3, unique_by=lambda e: e["name"],
    )  # fmt: skip
    optional: dict[str, st.SearchStrategy[Any]] = {"image": NAMES, "env": env}
    if directives:
        optional |= {"$patch": st.just("delete")}
    element = st.fixed_dictionaries({"name": NAMES}, optional=optional)
    return st.lists(element, max_size=4, unique_by=lambda e: e["name"])


@settings(max_examples=20)
@given(live=containers(False), patch=containers(True), ordered=st.booleans())
def test_any_merge_of_containers_is_kubectls(
    live: list[Any], patch: list[Any], ordered: bool, schemas: Schemas, patch_local: Callable[..., Any]
) -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": live}}
    spec: dict[str, Any] = {"containers": patch}
    kept = [c for c in patch if "$patch" not in c]
    if ordered and kept and live:
        spec["$setElementOrder/containers"] = [{"name": c["name"]} for c in kept]
    node = schemas.for_kind("v1", "Pod")
    assert node is not None
    assert strategic_merge(obj, {"spec": spec}, node) == patch_local(obj, {"spec": spec})
