"""Custom resources in several versions: a webhook converts them, or nobody needs to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from webhook_lab import Hook

from meshlab.errors import Rejected
from meshlab.kube import Kube, Raw

Object = dict[str, Any]
Send = Callable[..., Raw]
DEFINITIONS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")


def schema(**properties: Object) -> Object:
    spec = {"type": "object", "properties": properties}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}


def definition(group: str, conversion: Object) -> Object:
    """Boxes: v1 has `size: 2x3`, v2 has width, height and a colour that it fills in; v1 is stored."""
    whole = {"type": "integer"}
    old = {"name": "v1", "served": True, "storage": True, "schema": schema(size={"type": "string"})}
    new = {
        "name": "v2",
        "served": True,
        "storage": False,
        "schema": schema(width=whole, height=whole, colour={"type": "string", "default": "grey"}),
    }
    return {
        "kind": "CustomResourceDefinition",
        "apiVersion": DEFINITIONS[0],
        "metadata": {"name": f"boxes.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "boxes", "kind": "Box"},
            "versions": [old, new],
            "conversion": conversion,
        },
    }


def converted(request: Object) -> Object:
    """What the webhook of the boxes answers."""
    made = []
    for obj in request["objects"]:
        spec = obj["spec"]
        if request["desiredAPIVersion"].endswith("/v2"):
            width, _, height = spec["size"].partition("x")
            spec = {"width": int(width), "height": int(height), "secret": "no field of v2"}
        else:
            spec = {"size": f"{spec['width']}x{spec['height']}"}
        made.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
    return {"convertedObjects": made, "result": {"status": "Success"}}


@pytest.fixture
def group(kube: Kube, namespace: str, hook: Hook) -> Iterator[str]:
    """The group of boxes whose webhook is `hook`."""
    hook.answer = converted
    name = f"{namespace}.example.org"
    webhook = {"clientConfig": hook.client("/convert"), "conversionReviewVersions": ["v1"]}
    kube.create(DEFINITIONS, definition(name, {"strategy": "Webhook", "webhook": webhook}))
    yield name
    hook.answer = converted
    kube.delete((*DEFINITIONS, None, f"boxes.{name}"))


def box(group: str, name: str, version: str = "v1", **spec: Any) -> Object:
    return {"kind": "Box", "apiVersion": f"{group}/{version}", "metadata": {"name": name}, "spec": spec}


def test_each_version_is_seen_as_it_is_asked_for(kube: Kube, namespace: str, group: str) -> None:
    old, new = (f"{group}/v1", "boxes", namespace), (f"{group}/v2", "boxes", namespace)
    kube.create(old, box(group, "a", size="2x3"))
    made = kube.create(new, box(group, "b", "v2", width=4, height=5))
    assert made["apiVersion"] == f"{group}/v2"
    assert made["spec"] == {"width": 4, "height": 5, "colour": "grey"}
    assert kube.get((*new, "a"))["spec"] == {"width": 2, "height": 3, "colour": "grey"}
    assert kube.get((*old, "b"))["spec"] == {"size": "4x5"}
    patched = kube.patch((*new, "a"), {"spec": {"height": 9}, "metadata": {"labels": {"x": "y"}}})
    assert patched["spec"]["height"] == 9
    assert kube.get((*old, "a"))["spec"] == {"size": "2x9"} and kube.get((*old, "a"))["metadata"]["labels"] == {
        "x": "y"
    }
    kube.delete((*new, "a"))
    assert [item["spec"] for item in kube.list(new)["items"]] == [{"width": 4, "height": 5, "colour": "grey"}]


def test_a_list_is_one_question_and_asked_once(kube: Kube, namespace: str, group: str, hook: Hook) -> None:
    for n in range(5):
        kube.create((f"{group}/v1", "boxes", namespace), box(group, f"b{n}", size=f"1x{n}"))
    assert hook.asked == []
    listed = kube.list((f"{group}/v2", "boxes", namespace))["items"]
    assert [item["spec"]["height"] for item in listed] == [0, 1, 2, 3, 4]
    assert [len(request["objects"]) for request in hook.asked] == [5]
    kube.list((f"{group}/v2", "boxes", namespace))
    assert len(hook.asked) == 1


def test_a_watch_is_converted(send: Send, kube: Kube, namespace: str, group: str) -> None:
    kube.create((f"{group}/v1", "boxes", namespace), box(group, "a", size="2x3"))
    path = f"/apis/{group}/v2/namespaces/{{ns}}/boxes?watch=true&timeoutSeconds=1"
    (event,) = [json.loads(line) for line in send("GET", path).text.splitlines()]
    assert event["type"] == "ADDED" and event["object"]["spec"]["width"] == 2


def test_a_watch_that_cannot_be_converted_says_so(
    send: Send, kube: Kube, namespace: str, group: str, hook: Hook
) -> None:
    kube.create((f"{group}/v1", "boxes", namespace), box(group, "a", size="2x3"))
    hook.answer = lambda request: {"result": {"status": "Failure", "message": "no idea"}}
    answer = send("GET", f"/apis/{group}/v2/namespaces/{{ns}}/boxes?watch=true&timeoutSeconds=5")
    (event,) = [json.loads(line) for line in answer.text.splitlines()]
    assert event["type"] == "ERROR" and event["object"]["message"].endswith("failed: no idea")


@pytest.mark.parametrize(("answer", "message"), [
    ({"result": {"status": "Failure", "message": "no idea"}}, "failed: no idea"),
    ({"result": {"status": "Success"}, "convertedObjects": []}, "returned 0 objects, expected 1"),
    ({"uid": "other", "result": {"status": "Success"}}, 'got "other"'),
])  # fmt: skip
def test_a_webhook_that_cannot_convert(
    kube: Kube, namespace: str, group: str, hook: Hook, answer: Object, message: str
) -> None:
    kube.create((f"{group}/v1", "boxes", namespace), box(group, "a", size="2x3"))
    hook.answer = lambda request: answer
    with pytest.raises(Rejected) as refused:
        kube.get((f"{group}/v2", "boxes", namespace, "a"))
    assert refused.value.status["message"].startswith(f"conversion webhook for {group}/v1, Kind=Box ")
    assert message in refused.value.status["message"]
    assert kube.get((f"{group}/v1", "boxes", namespace, "a"))["spec"] == {"size": "2x3"}


def test_a_webhook_may_not_rename(kube: Kube, namespace: str, group: str, hook: Hook) -> None:
    kube.create((f"{group}/v1", "boxes", namespace), box(group, "a", size="2x3"))

    def rename(request: Object) -> Object:
        made = converted(request)
        made["convertedObjects"][0]["metadata"] = {"name": "z"}
        return made

    hook.answer = rename
    with pytest.raises(Rejected, match="must have the same name: a != z"):
        kube.get((f"{group}/v2", "boxes", namespace, "a"))


def test_what_was_stored_in_another_version_is_shown_in_the_one_asked_for(
    kube: Kube, namespace: str, send: Send
) -> None:
    group = f"{namespace}.plain.org"
    made = kube.create(DEFINITIONS, definition(group, {"strategy": "None"}))
    kube.create((f"{group}/v1", "boxes", namespace), box(group, "a", size="2x3"))
    versions = [{**v, "storage": not v["storage"]} for v in made["spec"]["versions"]]
    kube.patch((*DEFINITIONS, None, f"boxes.{group}"), {"spec": {"versions": versions}})
    path = f"/apis/{group}/v2/namespaces/{{ns}}/boxes"
    assert json.loads(send("GET", f"{path}/a").data)["apiVersion"] == f"{group}/v2"
    assert json.loads(send("GET", path).data)["items"][0]["apiVersion"] == f"{group}/v2"
    stored = kube.get((*DEFINITIONS, None, f"boxes.{group}"))["status"]["storedVersions"]
    assert stored == ["v1", "v2"]


def test_a_definition_goes_with_all_its_objects(kube: Kube, namespace: str) -> None:
    group = f"{namespace}.gone.org"
    kube.create(DEFINITIONS, definition(group, {"strategy": "None"}))
    for n in range(3):
        kube.create((f"{group}/v1", "boxes", namespace), box(group, f"b{n}", size="2x3"))
    kube.delete((*DEFINITIONS, None, f"boxes.{group}"))
    with pytest.raises(Rejected, match="not found"):
        kube.get((*DEFINITIONS, None, f"boxes.{group}"))


@pytest.mark.parametrize(("conversion", "cause"), [
    ({"strategy": "Webhook"}, "spec.conversion.webhookClientConfig: Required value: required when strategy is set to"),
    ({"strategy": "Webhook", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v1"]}},
     "exactly one of url or service is required"),
    ({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v9"]}},
     "must include at least one of v1, v1beta1"),
    ({"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": "a", "path": "b//c"}},
                                         "conversionReviewVersions": ["v1"]}},
     "spec.conversion.webhookClientConfig.service.namespace: Required value"),
    ({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://x?y"}, "conversionReviewVersions": ["v1"]}},
     "'https' is the only allowed URL scheme; desired format: https://host[/path]"),
    ({"strategy": "None", "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]}},
     "should not be set when strategy is not set to Webhook"),
])  # fmt: skip
def test_a_conversion_that_cannot_be(kube: Kube, conversion: Object, cause: str) -> None:
    with pytest.raises(Rejected) as refused:
        kube.create(DEFINITIONS, definition("refused.example.org", conversion))
    assert cause in refused.value.status["message"]
