"""The begin and the end of lessons, against a lab whose cluster is a dictionary."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshlab.checkpoint import Checkpoint
from meshlab.notebook.lesson import Lesson
from meshlab.starts import reset
from meshlab.tutorial import DEMO

EGRESS = {
    "kind": "EgressRule",
    "metadata": {"name": "enable-svcb-engress-rule", "namespace": "default"},
    "spec": {"a": 1},
}
OTHER = {"kind": "RouteRule", "metadata": {"name": "left-over", "namespace": "default"}, "spec": {"b": 2}}


def service(name: str, port_name: str = "") -> dict[str, Any]:
    port = {"port": 80, **({"name": port_name} if port_name else {})}
    return {"kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [port]}}


class Cluster:
    """Objects by (kind, namespace, name), with the few calls of `Lab` that a lesson makes."""

    def __init__(self, home: Path, *objects: dict[str, Any]) -> None:
        self.settings = SimpleNamespace(home=home)
        self.objects = {self._key(o): copy.deepcopy(o) for o in objects}
        self.said: list[str] = []
        self.report = self.said.append
        self.access = self.writer = self
        self.engine = SimpleNamespace(selector="", unnamed_port="", can=lambda capability: True)
        self.ready, self.upstream = False, ""
        self.traffic, self.streams = self, 0

    @staticmethod
    def _key(o: dict[str, Any]) -> tuple[str, str, str]:
        return o["kind"], o["metadata"].get("namespace", "default"), o["metadata"]["name"]

    def require(self, *needs: str) -> None: ...

    def settled(self) -> None: ...

    def istioctl(self, command: str, *, stdin: str) -> str:
        return stdin

    def kubectl(self, command: str, *, stdin: str = "") -> str:
        self.said.append(f"kubectl {command}")
        return ""

    def stop_all(self) -> int:
        stopped, self.streams = self.streams, 0
        return stopped

    def reset(self, lesson: str) -> float:
        return reset(self, lesson)  # type: ignore[arg-type]

    def renew(self, app: str) -> None:
        self.said.append(f"renewed {app}")

    def curl(self, url: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(upstream=self.upstream)]

    def remove(self, name: str) -> None:
        self.said.append(f"removed {name}")

    def scale(self, name: str, replicas: int) -> None:
        self.said.append(f"scaled {name} to {replicas}")

    def served(self, api_version: str, kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
        return self.items(api_version, kind, namespace)

    def items(self, api_version: str, kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Stored objects, and the demo's Deployments, ready, if the test says so."""
        if kind != "Deployment":
            return [o for o in self.objects.values() if o["kind"] == kind]
        return [
            {"metadata": {"namespace": d.namespace, "name": d.name, "generation": 0}, "spec": {"replicas": 0}}
            for d, _ in DEMO.values()
            if self.ready
        ]

    def wait(self, deployment: str) -> None: ...

    def rules(self) -> list[dict[str, Any]]:
        return [o for o in self.objects.values() if o["kind"].endswith("Rule")]

    def documents(self, path: Path) -> list[dict[str, Any]]:
        assert path == Path("demo/rules/enable-svcb-engress-rule.yaml")
        return [copy.deepcopy(EGRESS)]

    def apply(self, *what: Any, timeout: float | None = 10.0) -> None:
        for o in what[0] if isinstance(what[0], list) else what:
            self.objects[self._key(o)] = copy.deepcopy(o)

    def delete(self, gone: list[dict[str, Any]], *, timeout: float | None = 10.0) -> None:
        for o in gone:
            del self.objects[self._key(o)]

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(copy.deepcopy(self.objects))

    def put_back(self, found: Checkpoint) -> list[str]:
        changed = [
            "/".join(key) for key in {*found.objects, *self.objects} if found.objects.get(key) != self.objects.get(key)
        ]
        self.objects = copy.deepcopy(dict(found.objects))
        return changed

    restore = put_back

    def request(self, method: str, path: str, *, body: Any = None, headers: Any = None, check: bool = True) -> Any:
        found = self.objects.get(("Service", "default", path.rpartition("/")[2]))
        if method == "PATCH":
            assert found is not None
            for change in body:
                port = found["spec"]["ports"][0]
                if change["op"] == "remove":
                    del port["name"]
                else:
                    port["name"] = change["value"]
        return SimpleNamespace(status=200 if found else 404, json=lambda: found)


def test_a_lesson_starts_from_its_own_state_and_puts_the_found_one_back(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, OTHER, service("svca"), service("svcb", "http"))
    found = lab.checkpoint()
    lesson = Lesson.begin(lab, "04")  # type: ignore[arg-type]
    assert [rule["metadata"]["name"] for rule in lab.rules()] == ["enable-svcb-engress-rule"]
    assert "name" not in lab.objects["Service", "default", "svcb"]["spec"]["ports"][0]
    assert any("left-over" in line for line in lab.said) and any("svcb: was http" in line for line in lab.said)
    lesson.end()
    assert lab.checkpoint() == found and not (tmp_path / "lesson.json").exists()


@pytest.mark.parametrize(("upstream", "replaced"), [("", True), ("svcb-1;v0.1", False)])
def test_a_svca_that_cannot_reach_svcb_gets_a_new_pod(tmp_path: Path, upstream: str, replaced: bool) -> None:
    lab = Cluster(tmp_path, service("svcb", "http"))
    lab.ready, lab.upstream = True, upstream
    Lesson.begin(lab, "03")  # type: ignore[arg-type]
    assert ("renewed svca" in lab.said) is replaced


def test_a_lesson_on_the_demo_starts_with_one_pod_of_each_service(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, service("svcb"))
    lab.ready, lab.upstream = True, "svcb-1;v0.1"  # every Deployment there, with no pods
    Lesson.begin(lab, "03")  # type: ignore[arg-type]
    assert [line for line in lab.said if line.startswith(("removed", "scaled"))] == [
        "scaled svca to 1", "scaled svcb to 1", "removed svcb-v0.2", "removed svcb-broken"
    ]  # fmt: skip


def test_traffic_that_somebody_left_running_is_stopped_at_both_ends(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, service("svcb"))
    lab.ready, lab.upstream, lab.streams = True, "svcb-1;v0.1", 2
    lesson = Lesson.begin(lab, "03")  # type: ignore[arg-type]
    assert lab.streams == 0 and "streams of traffic that ran, and were stopped: 2" in lab.said
    lab.streams = 1
    lesson.end()
    assert lab.streams == 0


def test_a_first_cell_run_twice_remembers_what_was_found_first(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, OTHER, service("svcb"))
    found = lab.checkpoint()
    Lesson.begin(lab, "03")  # type: ignore[arg-type]
    lab.apply(EGRESS)  # the learner goes on, and the kernel dies
    Lesson.begin(lab, "03").end()  # type: ignore[arg-type]
    assert lab.checkpoint() == found


def test_another_lesson_begins_from_what_an_unfinished_one_had_found(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, service("svcb"))
    found = lab.checkpoint()
    Lesson.begin(lab, "03")  # type: ignore[arg-type]
    lab.apply(EGRESS)
    lesson = Lesson.begin(lab, "04")  # type: ignore[arg-type]
    assert lesson.found == found and "lesson 03 was not ended: what it changed is put back first" in lab.said
    lesson.end()
    assert lab.checkpoint() == found


def test_a_reset_brings_the_start_of_the_lesson_that_is_under_way(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, OTHER, service("svcb", "http"))
    found = lab.checkpoint()
    lesson = Lesson.begin(lab, "04")  # type: ignore[arg-type]
    start = lab.checkpoint()
    lab.apply(OTHER)
    lab.delete([EGRESS])
    lab.apply(service("svcb", "grpc"))
    for again in (lambda: reset(lab), lesson.reset, lesson.button().press):  # type: ignore[arg-type]
        again()
        assert lab.checkpoint() == start
    lesson.end()
    assert lab.checkpoint() == found


def test_a_reset_brings_the_start_of_any_lesson_by_name(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, OTHER, service("svcb", "http"))
    reset(lab, "04")  # type: ignore[arg-type]
    assert [rule["metadata"]["name"] for rule in lab.rules()] == ["enable-svcb-engress-rule"]
    with pytest.raises(ValueError, match="not '4'"):
        reset(lab, "4")  # type: ignore[arg-type]


def test_a_reset_without_a_lesson_changes_nothing_and_says_so(tmp_path: Path) -> None:
    lab = Cluster(tmp_path, OTHER)
    before = lab.checkpoint()
    reset(lab)  # type: ignore[arg-type]
    assert lab.checkpoint() == before and "no lesson is under way" in lab.said[-1]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lesson": "03"}', '{"lesson": "03", "found": [1]}'])
def test_a_broken_file_of_an_earlier_lesson_does_no_harm(tmp_path: Path, text: str) -> None:
    (tmp_path / "lesson.json").write_text(text)
    lab = Cluster(tmp_path, service("svcb"))
    Lesson.begin(lab, "03").end()  # type: ignore[arg-type]
    assert not (tmp_path / "lesson.json").exists()


def test_what_a_lesson_brings_up_on_purpose_stays(tmp_path: Path) -> None:
    lab = Cluster(tmp_path)
    lesson = Lesson.begin(lab, "02")  # type: ignore[arg-type]
    lab.apply(service("svcb"))
    lab.apply(service("svcb-v0.2"))
    lesson.end()
    assert [key[2] for key in lab.objects] == ["svcb"]


def test_a_restore_that_did_not_work_is_no_good_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Cluster(tmp_path, OTHER)
    lesson = Lesson.begin(lab, "03")  # type: ignore[arg-type]
    monkeypatch.setattr(lab, "put_back", lambda found: [])
    with pytest.raises(AssertionError, match="RouteRule/default/left-over"):
        lesson.end()


def test_what_an_unfinished_lesson_cannot_put_back_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Cluster(tmp_path, service("svcb"))
    Lesson.begin(lab, "03")  # type: ignore[arg-type]
    lab.apply(OTHER)
    monkeypatch.setattr(lab, "put_back", lambda found: [])
    Lesson.begin(lab, "04")  # type: ignore[arg-type]
    assert "not as it was found, and left so: RouteRule/default/left-over" in lab.said
