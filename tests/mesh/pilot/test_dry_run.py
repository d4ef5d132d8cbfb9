"""AuthorizationPolicies that are only tried: as with istiod 1.30.3 they refuse nobody."""

from __future__ import annotations

import pytest
from translating import put, registry


@pytest.mark.parametrize(("annotations", "enforced"), [
    ({"istio.io/dry-run": "true"}, False), ({"istio.io/dry-run": "false"}, True), ({}, True),
])
def test_a_policy_that_is_only_tried_is_not_in_force_and_that_is_said(
    annotations: dict[str, str], enforced: bool
) -> None:
    target = registry()
    put(target, "authorizationpolicies", "p", meta={"annotations": annotations}, spec={"action": "DENY", "rules": [{}]})
    world = target.world()
    assert bool(world.security.policies("default")) is enforced
    assert ["refuses nobody" in each.reason for each in world.problems] == ([] if enforced else [True])
