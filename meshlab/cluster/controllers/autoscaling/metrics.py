"""The metrics of one autoscaler: what each says now, and how many replicas it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any
from urllib.parse import quote, urlencode

from meshlab.cluster.api.quantity import parse, written
from meshlab.cluster.api.scale import selector_text
from meshlab.cluster.api.status import ApiError, NotFound
from meshlab.cluster.api.streams import Sample, Usage
from meshlab.cluster.controllers.autoscaling.ratios import (
    Groups,
    NoMetric,
    Tolerance,
    grouped,
    mean,
    needed,
    of_total,
    shared,
)
from meshlab.cluster.controllers.objects import Obj, parse_time

__all__ = ["Fetch", "Found", "Reader"]

#: GET of a path of the API, such as /apis/custom.metrics.k8s.io/…; raises ApiError.
Fetch = Callable[[str], Awaitable[Obj]]
CUSTOM, EXTERNAL = "/apis/custom.metrics.k8s.io/v1beta2", "/apis/external.metrics.k8s.io/v1beta1"
#: What servers of before offer; for our questions the two are alike.
OLD_CUSTOM = "/apis/custom.metrics.k8s.io/v1beta1"
#: Words of the condition when a metric of a type cannot be had.
FAILURES = {"Resource": "FailedGetResourceMetric", "ContainerResource": "FailedGetContainerResourceMetric",
            "Pods": "FailedGetPodsMetric", "Object": "FailedGetObjectMetric", "External": "FailedGetExternalMetric"}


@dataclass(frozen=True)
class Found:
    """What one metric asks for: replicas, its name in events, its entry in status.currentMetrics."""

    replicas: int
    name: str
    status: Obj


class Reader:
    """Reads metrics for one target: `pods` are its pods, `current` its replicas."""

    def __init__(self, usage: Usage | None, fetch: Fetch | None, namespace: str, pods: Sequence[Obj], current: int,
                 selector: str, tolerance: Tolerance, now: datetime) -> None:
        self._usage, self._fetch = usage, fetch
        self._namespace, self._pods, self._current, self._selector = namespace, pods, current, selector
        self._tolerance, self._now = tolerance, now

    async def read(self, metric: Mapping[str, Any]) -> Found:
        """One entry of spec.metrics. Raises NoMetric."""
        kind = str(metric["type"])
        source = metric[kind[:1].lower() + kind[1:]]
        match kind:
            case "Resource" | "ContainerResource":
                return self._resource(kind, source)
            case "Pods":
                return await self._of_pods(source)
            case "Object":
                return await self._of_object(source)
            case "External":
                return await self._external(source)
        raise NoMetric(f'unknown metric source type "{kind}"')

    # CPU and memory

    def _resource(self, kind: str, source: Mapping[str, Any]) -> Found:
        name, only, target = str(source["name"]), source.get("container"), source["target"]
        samples = self._samples(name, only)
        amounts = {pod: amount for pod, (amount, _) in samples.items()}
        groups = grouped(self._pods, {pod: (sample.at, sample.window) for pod, (_, sample) in samples.items()},
                         cpu=name == "cpu", now=self._now)
        known = [amount for pod, amount in amounts.items() if pod in groups.ready]
        if (percent := target.get("averageUtilization")) is not None:
            asked = self._requests(name, only, groups)

            def use(some: Mapping[str, int]) -> int:
                return 100 * sum(some.values()) // max(1, sum(asked[pod] for pod in some))

            replicas = shared(lambda some: use(some) / percent, amounts, groups, self._current, self._tolerance,
                              lambda pod: asked[pod] * max(100, percent) // 100)
            ready = {pod: amount for pod, amount in amounts.items() if pod in groups.ready}
            now = {"averageUtilization": use(ready), "averageValue": _text(mean(known), name)}
            title = f"{name} resource utilization (percentage of request)"
        else:
            replicas = self._shared_average(amounts, groups, target)
            now = {"averageValue": _text(mean(known), name)}
            title = f"{name} resource"
        if only:
            title = title.replace(" resource", f" container {only} resource", 1)
        key = kind[:1].lower() + kind[1:]
        entry = {"name": name, **({"container": only} if only else {}), "current": now}
        return Found(replicas, title, {"type": kind, key: entry})

    def _samples(self, name: str, only: str | None) -> dict[str, tuple[int, Sample]]:
        """Thousandths that each pod uses, as far as all of its containers are known."""
        by_uid = self._usage.pods() if self._usage is not None else {}
        found: dict[str, tuple[int, Sample]] = {}
        for pod in self._pods:
            known = by_uid.get(pod["metadata"]["uid"]) or {}
            names = [only] if only else [c["name"] for c in pod["spec"]["containers"]]
            if not all(each in known for each in names):
                continue
            samples = [known[each] for each in names]
            total = sum(sample.cpu * 1000 if name == "cpu" else sample.memory * 1000 for sample in samples)
            found[pod["metadata"]["name"]] = (int(total), samples[0])
        if not found and self._pods:
            raise NoMetric(f"unable to get metrics for resource {name}: no metrics returned from resource metrics API")
        return found

    def _requests(self, name: str, only: str | None, groups: Groups) -> dict[str, int]:
        found: dict[str, int] = {}
        for pod in self._pods:
            title, total = pod["metadata"]["name"], Fraction(0)
            if title in groups.ignored:
                continue
            for container in pod["spec"]["containers"]:
                if only and container["name"] != only:
                    continue
                request = ((container.get("resources") or {}).get("requests") or {}).get(name)
                if request is None:
                    raise NoMetric(f"missing request for {name} in container {container['name']} of Pod {title}")
                total += parse(request)[0]
            found[title] = int(total * 1000)
        return found

    def _shared_average(self, amounts: Mapping[str, int], groups: Groups, target: Mapping[str, Any]) -> int:
        each = _milli(target["averageValue"])
        return shared(lambda some: mean(list(some.values())) / each, amounts, groups, self._current, self._tolerance,
                      lambda _: each)

    # What others measure

    async def _of_pods(self, source: Mapping[str, Any]) -> Found:
        metric, target = source["metric"], source["target"]
        items = await self._items(f"{CUSTOM}/namespaces/{self._namespace}/pods/*/{quote(metric['name'])}",
                                  {"labelSelector": self._selector, **_metric_selector(metric)})
        amounts = {item["describedObject"]["name"]: _milli(item["value"]) for item in items}
        times = {item["describedObject"]["name"]: _measured(item) for item in items}
        groups = grouped(self._pods, times, cpu=False, now=self._now)
        replicas = self._shared_average(amounts, groups, target)
        now = {"averageValue": _text(mean([a for pod, a in amounts.items() if pod in groups.ready]), "")}
        return Found(replicas, f"pods metric {metric['name']}",
                     {"type": "Pods", "pods": {"metric": dict(metric), "current": now}})

    async def _of_object(self, source: Mapping[str, Any]) -> Found:
        metric, target, described = source["metric"], source["target"], source["describedObject"]
        group = str(described.get("apiVersion") or "v1").rpartition("/")[0]
        plural = described["kind"].lower() + ("es" if described["kind"].endswith("s") else "s")
        if described["kind"].endswith("y"):
            plural = described["kind"].lower()[:-1] + "ies"
        kind = f"{plural}.{group}" if group else plural
        items = await self._items(f"{CUSTOM}/namespaces/{self._namespace}/{kind}/{quote(described['name'])}/"
                                  f"{quote(metric['name'])}", _metric_selector(metric))
        value = _milli(items[0]["value"])
        replicas, now = self._total(value, target)
        title = f"{described['kind']} metric {metric['name']}"
        return Found(replicas, title, {"type": "Object", "object": {
            "metric": dict(metric), "describedObject": dict(described), "current": now}})

    async def _external(self, source: Mapping[str, Any]) -> Found:
        metric, target = source["metric"], source["target"]
        chosen = selector_text(metric.get("selector") or {})
        items = await self._items(f"{EXTERNAL}/namespaces/{self._namespace}/{quote(metric['name'])}",
                                  {"labelSelector": chosen})
        replicas, now = self._total(sum(_milli(item["value"]) for item in items), target)
        return Found(replicas, f"external metric {metric['name']}(&LabelSelector{{{chosen}}})", {
            "type": "External", "external": {"metric": dict(metric), "current": now}})

    def _total(self, value: int, target: Mapping[str, Any]) -> tuple[int, Obj]:
        """Replicas and the current value, for a target in all or per replica."""
        if (each := target.get("averageValue")) is not None:
            share = value // self._current if self._current else value
            return needed(value, _milli(each), self._current, self._tolerance), {"averageValue": _text(share, "")}
        ready = sum(1 for pod in self._pods if any(
            c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or []))
        return (of_total(value, _milli(target["value"]), self._current, ready, self._tolerance),
                {"value": _text(value, "")})

    async def _items(self, path: str, query: Mapping[str, str]) -> list[Obj]:
        given = urlencode({key: value for key, value in query.items() if value})
        if self._fetch is None:
            raise NoMetric("unable to fetch metrics from custom metrics API: no server of such metrics")
        try:
            async with asyncio.timeout(10):
                try:
                    answer = await self._fetch(f"{path}?{given}" if given else path)
                except NotFound:
                    path = path.replace(CUSTOM, OLD_CUSTOM)
                    answer = await self._fetch(f"{path}?{given}" if given else path)
        except ApiError as error:
            raise NoMetric(f"unable to fetch metrics from custom metrics API: {error.message}") from None
        except TimeoutError:
            raise NoMetric("unable to fetch metrics from custom metrics API: it did not answer within 10 s") from None
        items = answer.get("items") or []
        if not items:
            raise NoMetric("unable to fetch metrics from custom metrics API: no metrics returned")
        return list(items)


def _metric_selector(metric: Mapping[str, Any]) -> dict[str, str]:
    chosen = selector_text(metric.get("selector") or {})
    return {"metricLabelSelector": chosen} if chosen else {}


def _measured(item: Mapping[str, Any]) -> tuple[datetime, float] | None:
    """When, and over how long."""
    when = item.get("timestamp")
    return (parse_time(when), float(item.get("windowSeconds") or 60)) if when else None


def _milli(quantity: Any) -> int:
    return int(parse(quantity)[0] * 1000)


def _text(milli: int, resource: str) -> str:
    return written(Fraction(milli, 1000), "binary" if resource == "memory" and milli % 1000 == 0 else "decimal")
