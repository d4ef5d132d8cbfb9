"""The arithmetic of rolling updates."""

from __future__ import annotations

import pytest

from meshlab.cluster.controllers.revisions import find_new, surplus, template_hash
from meshlab.cluster.controllers.rollout import Bounds, Counts, bounds, new_replicas, proportions, scale_down, share


@pytest.mark.parametrize(("value", "total", "up", "expected"), [
    ("25%", 4, True, 1), ("25%", 3, True, 1), ("25%", 3, False, 0), ("0%", 10, True, 0), ("100%", 3, False, 3),
    (2, 1, True, 2),
])
def test_a_percentage_is_rounded_in_the_direction_that_is_asked_for(value, total, up, expected):
    assert share(value, total, up=up) == expected


@pytest.mark.parametrize(("spec", "expected"), [
    ({"replicas": 4}, Bounds(1, 1)),
    ({"replicas": 1}, Bounds(1, 0)),
    ({"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}, Bounds(0, 1)),
    ({"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 5}}}, Bounds(0, 2)),
    ({"replicas": 5, "strategy": {"type": "Recreate"}}, Bounds(0, 0)),
])
def test_bounds_never_come_out_so_that_nothing_could_move(spec, expected):
    assert bounds(spec) == expected


@pytest.mark.parametrize(("replicas", "limit", "new", "old", "expected"), [
    (4, Bounds(1, 1), Counts(0), [Counts(4, 4)], 1),
    (4, Bounds(1, 1), Counts(1), [Counts(3, 3)], 2),
    (4, Bounds(1, 1), Counts(2), [Counts(3, 3)], 2),
    (4, Bounds(1, 1), Counts(4), [], 4),
    (2, Bounds(1, 1), Counts(4), [], 2),
    (4, Bounds(0, 1), Counts(0), [Counts(4, 4)], 0),
])
def test_the_new_set_grows_into_the_room_that_surge_leaves(replicas, limit, new, old, expected):
    assert new_replicas(replicas, limit, new, old) == expected


@pytest.mark.parametrize(("replicas", "limit", "new", "old", "expected"), [
    # Nothing new is available yet: only what maxUnavailable allows goes.
    (4, Bounds(1, 1), Counts(1, 0), [Counts(4, 4)], [3]),
    (4, Bounds(1, 0), Counts(1, 0), [Counts(4, 4)], [4]),
    (4, Bounds(1, 0), Counts(1, 1), [Counts(4, 4)], [3]),
    (4, Bounds(1, 1), Counts(4, 4), [Counts(1, 1)], [0]),
    # A set that never became available is removed before a set that serves.
    (3, Bounds(1, 0), Counts(1, 0), [Counts(1, 0), Counts(3, 3)], [0, 3]),
    (2, Bounds(1, 0), Counts(1, 0), [Counts(2, 2)], [2]),
])
def test_old_pods_go_only_as_far_as_enough_stay_available(replicas, limit, new, old, expected):
    assert scale_down(replicas, limit, new, old) == expected


@pytest.mark.parametrize("replicas", range(1, 9))
@pytest.mark.parametrize("limit", [Bounds(1, 0), Bounds(0, 1), Bounds(1, 1), Bounds(3, 2)])
def test_a_rollout_always_finishes_within_its_bounds(replicas, limit):
    limit = Bounds(limit.surge, min(limit.unavailable, replicas))
    new, old = Counts(0, 0), [Counts(replicas, replicas)]
    for _ in range(4 * replicas + 4):
        size = new_replicas(replicas, limit, new, old)
        assert size + old[0].wanted <= replicas + limit.surge
        new = Counts(size, new.available)
        kept = scale_down(replicas, limit, new, old)[0]
        old = [Counts(kept, min(kept, old[0].available))]
        assert new.available + old[0].available >= replicas - limit.unavailable
        new = Counts(size, min(size, new.available + 1))  # one more becomes available
    assert (new, old) == (Counts(replicas, replicas), [Counts(0, 0)])


@pytest.mark.parametrize(("wanted", "total", "expected"), [
    ([8, 2], 20, [16, 4]), ([3, 1], 2, [1, 1]), ([2], 5, [5]), ([0, 0], 3, [3, 0]), ([1, 1], 0, [0, 0]),
])
def test_scaling_in_the_middle_keeps_the_proportion(wanted, total, expected):
    assert proportions(wanted, total) == expected


def template(image: str = "a", **labels: str) -> dict:
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}


def test_a_template_keeps_its_hash_and_another_gets_another():
    plain, hashed = template(app="x"), template(app="x", **{"pod-template-hash": "7c7c9df7d"})
    assert template_hash(plain) == template_hash(hashed)
    assert len({template_hash(plain), template_hash(template("b", app="x")), template_hash(plain, 1)}) == 3


def replica_set(name: str, created: str, image: str, revision: int = 0, replicas: int = 0) -> dict:
    return {"metadata": {"name": name, "creationTimestamp": created,
                         "annotations": {"deployment.kubernetes.io/revision": str(revision)}},
            "spec": {"template": template(image), "replicas": replicas}, "status": {"replicas": replicas}}


def test_of_two_sets_with_the_template_the_older_is_the_one():
    sets = [replica_set("y", "2026-01-02T00:00:00Z", "a"), replica_set("x", "2026-01-01T00:00:00Z", "a"),
            replica_set("z", "2025-01-01T00:00:00Z", "b")]
    assert find_new({"spec": {"template": template("a")}}, sets)["metadata"]["name"] == "x"


def test_history_forgets_the_oldest_revisions_without_pods():
    sets = [replica_set("a", "x", "a", 1), replica_set("b", "x", "b", 2, replicas=1), replica_set("c", "x", "c", 3)]
    assert [rs["metadata"]["name"] for rs in surplus(sets, 1)] == ["a", "c"]
    assert [rs["metadata"]["name"] for rs in surplus(sets, 2)] == ["a"]
    assert surplus(sets, 10) == []
