"""Deployments that become ready by themselves, against a cluster whose list and events are given."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from meshlab.states import Deployment, coming

SVCA, SVCB = Deployment("default", "svca"), Deployment("default", "svcb")


def deployment(name: str, available: int, revision: int) -> dict[str, Any]:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), available)
    metadata = {"namespace": "default", "name": name, "generation": 1, "resourceVersion": str(revision)}
    return {"metadata": metadata, "spec": {"replicas": 1}, "status": {"observedGeneration": 1, **counts}}


class Cluster:
    """What is there at first, and what becomes of it; how often somebody watched."""

    def __init__(self, listed: list[dict[str, Any]], later: list[dict[str, Any]]) -> None:
        self.listed, self.later, self.watched = listed, later, 0

    def items(self, version: str, kind: str) -> list[dict[str, Any]]:
        return self.listed

    def request(self, method: str, path: str) -> Any:
        return SimpleNamespace(json=lambda: {"metadata": {"resourceVersion": "1"}, "items": self.listed})

    def watch(self, path: str, since: str, *, timeout: float) -> Iterator[dict[str, Any]]:
        self.watched += 1
        yield from ({"type": "MODIFIED", "object": each} for each in self.later)
        self.later = []


@pytest.mark.parametrize(
    ("listed", "later", "lacking", "watched"),
    [
        pytest.param([deployment("svca", 1, 1)], [], {}, False, id="ready"),
        pytest.param([deployment("svca", 0, 1)], [deployment("svca", 1, 2)], {}, True, id="about to come"),
        pytest.param([], [], {SVCA: "does not exist"}, False, id="not there: nothing to wait for"),
        pytest.param([deployment("svca", 0, 1)], [], {SVCA: "0/1 available"}, True, id="does not come"),
    ],
)
def test_pods_that_are_about_to_come_are_waited_for(
    listed: list[dict[str, Any]], later: list[dict[str, Any]], lacking: dict[Deployment, str], watched: bool
) -> None:
    cluster = Cluster(listed, later)
    assert coming(cluster, [SVCA], timeout=0.3) == lacking  # type: ignore[arg-type]
    assert bool(cluster.watched) is watched


def test_one_that_is_not_there_does_not_keep_others_from_being_waited_for() -> None:
    cluster = Cluster([deployment("svca", 0, 1)], [deployment("svca", 1, 2)])
    assert coming(cluster, [SVCA, SVCB], timeout=60.0) == {SVCB: "does not exist"}  # type: ignore[arg-type]
