"""The status of a Deployment: counts, and the conditions that `kubectl rollout status` reads. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from meshlab.cluster.controllers.objects import Obj, condition_of, parse_time, timestamp, with_condition
from meshlab.cluster.controllers.rollout import bounds

__all__ = ["NEVER", "deployment_status", "paused_condition", "seconds_left"]

#: progressDeadlineSeconds "never": what extensions/v1beta1 has by default.
NEVER = 2**31 - 1


def deployment_status(deployment: Mapping[str, Any], new: Mapping[str, Any] | None, old: Sequence[Mapping[str, Any]],
                      at: datetime | None = None, *, created: bool = False) -> Obj:
    """The whole status. `created` says that the new ReplicaSet was made just now."""
    moment = at or datetime.now(UTC)
    text = timestamp(moment)
    spec, before = deployment["spec"], deployment.get("status") or {}
    replicas = int(spec.get("replicas", 1))

    def total(field: str, sets: Sequence[Mapping[str, Any]]) -> int:
        return sum(int((rs.get("status") or {}).get(field) or 0) for rs in sets)

    everything = [*old, *([new] if new is not None else [])]
    counts = {
        "replicas": total("replicas", everything),
        "updatedReplicas": total("replicas", [new] if new is not None else []),
        "readyReplicas": total("readyReplicas", everything),
        "availableReplicas": total("availableReplicas", everything),
    }
    wanted = sum(int(rs["spec"].get("replicas", 1)) for rs in everything)
    counts["unavailableReplicas"] = max(0, wanted - counts["availableReplicas"])
    status: Obj = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    status |= {name: count for name, count in counts.items() if count}
    if before.get("collisionCount"):
        status["collisionCount"] = before["collisionCount"]

    conditions: list[Obj] = [dict(condition) for condition in before.get("conditions") or []]
    if counts["availableReplicas"] >= replicas - bounds(spec).unavailable:
        conditions = with_condition(conditions, "Available", "True", "MinimumReplicasAvailable",
                                    "Deployment has minimum availability.", text)
    else:
        conditions = with_condition(conditions, "Available", "False", "MinimumReplicasUnavailable",
                                    "Deployment does not have minimum availability.", text)
    conditions = _progress(conditions, deployment, new, counts, moment, created=created)
    failure = next((condition for rs in everything if (condition := condition_of(rs, "ReplicaFailure"))), None)
    conditions = [c for c in conditions if c["type"] != "ReplicaFailure"] if failure is None else with_condition(
        conditions, "ReplicaFailure", failure["status"], failure["reason"], failure["message"], text)
    status["conditions"] = conditions
    return status


def _progress(conditions: list[Obj], deployment: Mapping[str, Any], new: Mapping[str, Any] | None,
              counts: Mapping[str, int], moment: datetime, *, created: bool) -> list[Obj]:
    spec, before = deployment["spec"], deployment.get("status") or {}
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is None or deadline >= NEVER:
        return [condition for condition in conditions if condition["type"] != "Progressing"]
    if spec.get("paused"):
        return conditions
    text = timestamp(moment)
    current = next((c for c in conditions if c["type"] == "Progressing"), None)
    subject = ("ReplicaSet", new) if new is not None else ("Deployment", deployment)
    name = f'{subject[0]} "{subject[1]["metadata"]["name"]}"'

    def say(status: str, reason: str, message: str) -> list[Obj]:
        said = with_condition(conditions, "Progressing", status, reason, message, text)
        # The deadline counts from the last sign of progress, not from the last change of words.
        said[-1]["lastUpdateTime"] = text
        return said

    if created and new is not None:
        return say("True", "NewReplicaSetCreated", f'Created new replica set "{new["metadata"]["name"]}"')
    if current is None and new is not None:
        conditions = say("True", "FoundNewReplicaSet", f'Found new replica set "{new["metadata"]["name"]}"')
        current = conditions[-1]
    replicas = int(spec.get("replicas", 1))
    settled = counts["replicas"] == counts["updatedReplicas"]
    if settled and current is not None and current["reason"] == "NewReplicaSetAvailable":
        return conditions
    observed = int(before.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    if counts["updatedReplicas"] == replicas and settled and counts["availableReplicas"] == replicas and observed:
        return say("True", "NewReplicaSetAvailable", f"{name} has successfully progressed.")

    def was(field: str) -> int:
        return int(before.get(field) or 0)

    moved = (counts["updatedReplicas"] > was("updatedReplicas")
             or counts["replicas"] - counts["updatedReplicas"] < was("replicas") - was("updatedReplicas")
             or counts["readyReplicas"] > was("readyReplicas")
             or counts["availableReplicas"] > was("availableReplicas"))
    if moved:
        return say("True", "ReplicaSetUpdated", f"{name} is progressing.")
    if current is not None and current["status"] == "True" and current["reason"] != "NewReplicaSetAvailable":
        since = parse_time(current["lastUpdateTime"])
        if (moment - since).total_seconds() >= deadline:
            return with_condition(conditions, "Progressing", "False", "ProgressDeadlineExceeded",
                                  f"{name} has timed out progressing.", text)
    return conditions


def seconds_left(deployment: Mapping[str, Any], status: Mapping[str, Any], moment: datetime) -> float | None:
    """Until the deadline of a rollout that is under way must be looked at again; None if none is."""
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    current = condition_of({"status": status}, "Progressing")
    if deadline is None or deadline >= NEVER or current is None or deployment["spec"].get("paused"):
        return None
    if current["status"] != "True" or current["reason"] == "NewReplicaSetAvailable":
        return None
    return max(1.0, float(deadline) - (moment - parse_time(current["lastUpdateTime"])).total_seconds() + 1)


def paused_condition(deployment: Mapping[str, Any], at: str) -> list[Obj] | None:
    """The conditions after a pause or a resumption was noticed, or None where nothing is to be said."""
    conditions = (deployment.get("status") or {}).get("conditions") or []
    current = condition_of(deployment, "Progressing")
    if current is not None and current["reason"] == "ProgressDeadlineExceeded":
        return None
    paused = bool(deployment["spec"].get("paused"))
    said = current is not None and current["reason"] == "DeploymentPaused"
    if paused and not said:
        return with_condition(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", at)
    if not paused and said:
        return with_condition(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", at)
    return None
