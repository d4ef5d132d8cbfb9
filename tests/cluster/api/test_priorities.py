"""Priorities of pods: a class's name becomes its number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from meshlab.errors import Rejected
from meshlab.kube import Kube

CLASSES = ("scheduling.k8s.io/v1", "priorityclasses")


@contextmanager
def priority_class(kube: Kube, name: str, value: int, **fields: Any) -> Iterator[None]:
    kube.create(CLASSES, {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name},
                          "value": value, **fields})  # fmt: skip
    try:
        yield
    finally:
        kube.delete((*CLASSES, "", name))


def made(kube: Kube, namespace: str, **spec: Any) -> Any:
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"generateName": "p-"},
           "spec": {"containers": [{"name": "main", "image": "python:3.12"}], **spec}}  # fmt: skip
    told = kube.create(("v1", "pods", namespace), pod)["spec"]
    return tuple(told.get(key) for key in ("priorityClassName", "priority", "preemptionPolicy"))


def test_the_systems_own_classes_are_there(kube: Kube, namespace: str) -> None:
    assert made(kube, namespace, priorityClassName="system-node-critical") == (
        "system-node-critical", 2_000_001_000, "PreemptLowerPriority")


def test_a_class_is_looked_up(kube: Kube, namespace: str) -> None:
    assert made(kube, namespace) == (None, 0, "PreemptLowerPriority")
    with priority_class(kube, "calm", 7, preemptionPolicy="Never"):
        assert made(kube, namespace, priorityClassName="calm") == ("calm", 7, "Never")
    with priority_class(kube, "usual", 5, globalDefault=True):
        assert made(kube, namespace) == ("usual", 5, "PreemptLowerPriority")


def test_a_class_is_looked_up_before_limits_and_webhooks_see_the_pod(kube: Kube, namespace: str) -> None:
    limits = {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "some"},
              "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}  # fmt: skip
    kube.create(("v1", "limitranges", namespace), limits)
    assert made(kube, namespace, priorityClassName="system-node-critical")[1] == 2_000_001_000


@pytest.mark.parametrize(("spec", "why"), [
    ({"priorityClassName": "none"}, "no PriorityClass with name none was found"),
    ({"priority": 3}, "the integer value of priority (3) must not be provided in pod spec; priority admission "
                      "controller computed 0 from the given PriorityClass name"),
    ({"preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never) must not be provided in pod spec; "
                                    "priority admission controller computed PreemptLowerPriority from the given "
                                    "PriorityClass name"),
])  # fmt: skip
def test_what_the_class_does_not_say_is_refused(kube: Kube, namespace: str, spec: dict[str, Any], why: str) -> None:
    with pytest.raises(Rejected) as refused:
        made(kube, namespace, **spec)
    assert refused.value.status["code"] == 403
    assert refused.value.status["message"].endswith(why)
