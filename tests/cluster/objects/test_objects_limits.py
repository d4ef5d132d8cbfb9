"""Quotas and limits as tables: what objects count for, what is filled in, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.cluster.api.limits.amounts import amounts, of_pod, shown
from meshlab.cluster.api.limits.quotas import counts, refusal, usage
from meshlab.cluster.api.limits.ranges import refusals, with_defaults

Object = dict[str, Any]


def container(name: str = "main", requests: Object | None = None, limits: Object | None = None, **rest: Any) -> Object:
    resources = {k: v for k, v in (("requests", requests), ("limits", limits)) if v}
    return {"name": name, **({"resources": resources} if resources else {}), **rest}


def pod(*containers: Object, init: tuple[Object, ...] = (), phase: str = "Running", **spec: Any) -> Object:
    made = {"containers": list(containers), **spec}
    if init:
        made["initContainers"] = list(init)
    return {"metadata": {"name": "p"}, "spec": made, "status": {"phase": phase}}


def limit_range(**item: Any) -> Object:
    return {"spec": {"limits": [{"type": "Container", **item}]}}


def quota(scopes: tuple[str, ...] = (), **hard: str) -> Object:
    named = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    return {"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": named, "scopes": list(scopes)}}


@pytest.mark.parametrize(
    ("subject", "cpu"),
    [
        (pod(container(requests={"cpu": "1"}), container("b", requests={"cpu": "500m"})), "cpu=1500m"),
        (pod(container(requests={"cpu": "1"}), init=(container("i", requests={"cpu": "3"}),)), "cpu=3"),
        (
            pod(container(requests={"cpu": "1"}), init=(
                container("s", requests={"cpu": "1"}, restartPolicy="Always"), container("i", requests={"cpu": "3"}),
            )),
            "cpu=4",
        ),
        (pod(container(requests={"cpu": "1"}), overhead={"cpu": "100m"}), "cpu=1100m"),
        (pod(container()), ""),
    ],
)  # fmt: skip
def test_a_pod_requests_what_runs_at_once(subject: Object, cpu: str) -> None:
    assert shown(of_pod(subject, "requests"), ["cpu"]) == cpu


@pytest.mark.parametrize(
    ("group", "plural", "obj", "used"),
    [
        ("", "configmaps", {}, "configmaps=1,count/configmaps=1"),
        ("apps", "deployments", {}, "count/deployments.apps=1"),
        ("", "services", {"spec": {"type": "LoadBalancer", "ports": [{}, {}]}},
         "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2"),
        ("", "pods", pod(container(limits={"memory": "1Gi"})), "count/pods=1,limits.memory=1Gi,pods=1"),
        ("", "pods", pod(container(limits={"memory": "1Gi"}), phase="Succeeded"), "count/pods=1"),
        ("", "persistentvolumeclaims", {"spec": {"resources": {"requests": {"storage": "1Gi"}}}},
         "count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=1Gi"),
    ],
)  # fmt: skip
def test_what_an_object_counts_for(group: str, plural: str, obj: Object, used: str) -> None:
    found = usage(group, plural, obj)
    assert shown(found, found) == used


@pytest.mark.parametrize(
    ("subject", "limits", "used", "before", "why"),
    [
        (pod(container()), quota(pods="1"), {"pods": "0"}, None, ""),
        (pod(container()), quota(pods="1"), {"pods": "1"}, None,
         "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
        (pod(container(requests={"cpu": "1"})), quota(requests_cpu="1500m", pods="9"), {"requests.cpu": "1"}, None,
         "exceeded quota: q, requested: requests.cpu=1, used: requests.cpu=1, limited: requests.cpu=1500m"),
        (pod(container("a"), container("b")), quota(limits_cpu="1", memory="1Gi"), {}, None,
         "failed quota: q: must specify limits.cpu for: a,b; memory for: a,b"),
        (pod(container(requests={"cpu": "1"})), quota(cpu="1"), {"cpu": "1"}, pod(container(requests={"cpu": "1"})),
         ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    subject: Object, limits: Object, used: Object, before: Object | None, why: str
) -> None:
    assert refusal(limits, "", "pods", subject, amounts(used), before) == why


@pytest.mark.parametrize(
    ("scopes", "subject", "taken"),
    [
        (("BestEffort",), pod(container()), True),
        (("BestEffort",), pod(container(requests={"cpu": "1"})), False),
        (("NotBestEffort",), pod(container(requests={"cpu": "1"})), True),
        (("Terminating",), pod(container(), activeDeadlineSeconds=5), True),
        (("NotTerminating", "BestEffort"), pod(container(), activeDeadlineSeconds=5), False),
    ],
)
def test_scopes_choose_pods(scopes: tuple[str, ...], subject: Object, taken: bool) -> None:
    assert counts(quota(scopes, pods="1"), "", "pods", subject) is taken


def test_what_a_pod_leaves_out_is_filled_in() -> None:
    given = pod(container(), container("b", limits={"cpu": "2"}))
    made = with_defaults(given, [limit_range(default={"cpu": "1"}, defaultRequest={"cpu": "500m"})])
    assert [c["resources"] for c in made["spec"]["containers"]] == [
        {"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}},
        {"limits": {"cpu": "2"}, "requests": {"cpu": "500m"}},
    ]
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container main; cpu limit for container main; "
        "cpu request for container b"
    )
    assert "annotations" not in given["metadata"]


@pytest.mark.parametrize(
    ("item", "resources", "why"),
    [
        ({"min": {"cpu": "100m"}}, {"requests": {"cpu": "50m"}},
         "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"min": {"cpu": "100m"}}, {}, "minimum cpu usage per Container is 100m.  No request is specified"),
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        ({"max": {"cpu": "1"}}, {}, "maximum cpu usage per Container is 1.  No limit is specified"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"limits": {"cpu": "3"}, "requests": {"cpu": "1"}},
         "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "1"}}, ""),
    ],
)  # fmt: skip
def test_bounds(item: Object, resources: Object, why: str) -> None:
    subject = pod({"name": "c", "resources": resources})
    assert refusals("Pod", subject, [limit_range(**item)]) == ([why] if why else [])
