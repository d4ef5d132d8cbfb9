"""A lab of a few dictionaries: enough for the controls, which only ask a lab to apply, delete, list and send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from meshlab.errors import NotInForce
from meshlab.inforce import InForce
from meshlab.settings import Network
from meshlab.traffic import Answer, Answers


class FakeLoad:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {"svcb-1;v0.1": 0}
        self.running = True

    def progress(self) -> dict[str, Any]:
        sent = sum(self.counts.values())
        return {"running": self.running, "sent": sent, "ok": sent, "by_upstream": dict(self.counts)}

    def stop(self) -> dict[str, Any]:
        self.running = False
        return self.progress()


class FakeLab:
    """`served` is the version counts that the next `curl` gives; `refuse` makes the next write fail."""

    network = Network(0)

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.applied: list[dict[str, Any]] = []
        self.served: Mapping[str, int] = {}
        self.proxies: Mapping[str, float] = {"svca": 4.0, "svcb": 5.0}
        self.refuse = ""
        self.loads: list[FakeLoad] = []

    def rules(self) -> list[dict[str, Any]]:
        return list(self.stored.values())

    def _check(self) -> None:
        if self.refuse:
            raise NotInForce(self.refuse, then="apply it again")

    def apply(self, text: str) -> InForce:
        self._check()
        rule = yaml.safe_load(text)
        self.applied.append(rule)
        self.stored[rule["kind"], rule["metadata"]["name"]] = rule
        return self._done(rule)

    def delete(self, text: str) -> InForce:
        self._check()
        rule = yaml.safe_load(text)
        self.stored.pop((rule["kind"], rule["metadata"]["name"]), None)
        return self._done(rule)

    def _done(self, rule: Mapping[str, Any]) -> InForce:
        name = f"{rule['kind']} default/{rule['metadata']['name']}"
        return InForce((name,), max(self.proxies.values(), default=0.0), dict(self.proxies))

    def curl(self, url: str, n: int = 1, *, concurrency: int = 1) -> Answers:
        answers = Answers()
        for version, count in self.served.items():
            headers = {"x-served-by": "svca-1;v0.1", "x-upstream-served-by": f"svcb-{version}-1;{version}"}
            answers.extend(Answer(200, "", 1.0, headers) for _ in range(count))
        return answers

    def load(self, url: str, *, rps: float, seconds: float) -> FakeLoad:
        self.loads.append(FakeLoad())
        return self.loads[-1]
