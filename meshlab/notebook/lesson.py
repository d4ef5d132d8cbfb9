"""The begin and the end of a lesson: make sure of what it needs, and leave the lab as it was found.

What a lesson *needs* (the control plane, demo services, an addon) is brought up and stays: the next lesson needs
it too. What a lesson *changes* (rules, names of ports, versions, numbers of pods) is put back at its end.

The state that was found is kept in a file beside the lab's, so that a first cell run twice, or a kernel that was
culled in the middle, does not take the lesson's own changes for what it found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshlab.checkpoint import Checkpoint
from meshlab.notebook.today import today
from meshlab.states import not_ready
from meshlab.tutorial import DEMO

if TYPE_CHECKING:
    from meshlab.lab import Lab

__all__ = ["Lesson"]

#: The demo's Services that have a port to name.
NAMED = ("svca", "svcb")


class Lesson:
    """One lesson under way. `begin` it in the first cell, `end` it in the last."""

    def __init__(self, lab: Lab, name: str, found: Checkpoint) -> None:
        self.lab, self.name, self.found = lab, name, found

    @classmethod
    def begin(
        cls, lab: Lab, name: str, *needs: str, rules: Iterable[str] = (), ports: str | None = "unnamed"
    ) -> Lesson:
        """Bring up `needs`, remember the state, and make it the one that the lesson starts from.

        `needs` as `lab.require` takes them, and "today" for the kinds of today's Istio.
        Mesh rules are then exactly those in `rules` (files of
        demo/rules, without `.yaml`), and the ports of svca and svcb are "unnamed" as the tutorial writes them,
        "http", or (None) left alone. Each repair is said in a line.
        """
        lab.require(*(need for need in needs if need != "today"))
        if "today" in needs:
            today(lab)
        file = _file(lab)
        found = _load(file, name)
        if found is None:
            found = lab.checkpoint()
            _save(file, name, found)
        else:
            lab.report(f"lesson {name} was begun before: its end will put back what it found then")
        if "control-plane" in needs:
            _set_rules(lab, rules)
        if "demo" in needs:
            _one_of_each(lab)
        if ports is not None:
            for service in NAMED:
                _name_port(lab, service, ports)
        lab.settled()
        _stop_traffic(lab)
        _drop_dead_connections(lab)
        lab.report(f"lesson {name}: the lab is as this lesson needs it")
        return cls(lab, name, found)

    def end(self, *, keep: Iterable[str] = ()) -> None:
        """Put back what the lesson changed, say what that was, and check that nothing is left of it.

        `keep` names Deployments and Services that the lesson brought up on purpose and the next ones use: they
        stay even if they were not found. What was found is put back all the same.
        """
        _stop_traffic(self.lab)
        kept = set(keep)
        brought = {
            key: made
            for key, made in self.lab.checkpoint().objects.items()
            if key not in self.found.objects and key[2] in kept and key[0] in ("Deployment", "Service")
        }
        self.found = Checkpoint({**self.found.objects, **brought}, self.found.unserved)
        changes = self.lab.restore(self.found)
        self.lab.settled()
        _drop_dead_connections(self.lab)
        for change in changes:
            self.lab.report(change)
        left = _difference(self.found, self.lab.checkpoint())
        if left:
            raise AssertionError(f"the lab is not as lesson {self.name} found it: {', '.join(left)}")
        _file(self.lab).unlink(missing_ok=True)
        count = len(changes)
        self.lab.report(f"lesson {self.name} is over: {count} thing{'s' if count != 1 else ''} put back")


def _one_of_each(lab: Lab) -> None:
    """One pod of svca, one of svcb v0.1, no other version: where the tutorial stands before it shifts traffic."""
    for found in lab.access.items("apps/v1", "Deployment", "default"):
        name, replicas = found["metadata"]["name"], found["spec"].get("replicas", 1)
        if name in ("svcb-v0.2", "svcb-broken"):
            lab.remove(name)
            lab.report(f"set aside until the end of the lesson: Deployment {name}")
        elif name in NAMED and replicas != 1:
            lab.scale(name, 1)
            lab.report(f"{name}: had {replicas} pods, has one for this lesson")


def _stop_traffic(lab: Lab) -> None:
    """Stop streams that somebody left running: a lesson counts requests, and means its own."""
    if not_ready(lab.access, [DEMO["client"][0]]):
        return
    count = int(lab.traffic.order("DELETE", "/load")["stopped"])
    if count:
        lab.report(f"stopped {count} stream{'s' if count != 1 else ''} of traffic that ran")


def _drop_dead_connections(lab: Lab) -> None:
    """Make sure that svca reaches svcb, if both are there: by a new pod of svca if need be.

    svca keeps its connection to svcb. One that was opened while svcb's port was HTTP belongs to the listener
    for all hosts on port 80, which stays when svcb's port becomes TCP; only its route to svcb goes. Requests on
    that connection are answered 404 for as long as it is kept, 90 s of idleness and more. Istio 0.4 does the same.
    """
    if not_ready(lab.access, [DEMO[name][0] for name in ("svca-v0.1", "svcb-v0.1", "client")]):
        return
    if not lab.curl("http://svca/pay")[0].upstream:
        lab.report("svca holds a connection that leads nowhere any more: its pod is replaced")
        lab.kubectl("delete pods -l app=svca --wait=true")
        lab.wait("svca")


def _set_rules(lab: Lab, wanted: Iterable[str]) -> None:
    """Exactly the wanted rules: others go, missing or different ones come."""
    documents = {
        (rule["kind"], rule["metadata"]["name"]): rule
        for file in wanted
        for rule in lab.documents(Path("demo") / "rules" / f"{file}.yaml")
    }
    there: dict[tuple[str, str], Mapping[str, Any]] = {}
    for rule in lab.rules():
        key = (str(rule["kind"]), str(rule["metadata"]["name"]))
        if key in documents and rule["metadata"].get("namespace", "default") == "default":
            there[key] = rule
        else:
            lab.delete(rule)
            lab.report(f"set aside until the end of the lesson: {key[0]} {key[1]}")
    for key, rule in documents.items():
        if key not in there or there[key].get("spec") != rule.get("spec"):
            lab.apply(rule)
            lab.report(f"put in force for this lesson: {key[0]} {key[1]}")


def _name_port(lab: Lab, service: str, wanted: str) -> None:
    """The first port of a Service gets the name "http" or none. A JSON patch, because it can take a name away."""
    path = f"/api/v1/namespaces/default/services/{service}"
    reply = lab.access.request("GET", path, check=False)
    if reply.status == 404:
        return
    name = reply.json()["spec"]["ports"][0].get("name", "")
    if (name or "unnamed") == wanted:
        return
    change: dict[str, Any] = {"op": "remove", "path": "/spec/ports/0/name"}
    if wanted != "unnamed":
        change = {"op": "add", "path": "/spec/ports/0/name", "value": wanted}
    headers = {"Content-Type": "application/json-patch+json"}
    lab.access.request("PATCH", path, body=[change], headers=headers)
    lab.report(f"port 80 of {service}: was {name or 'unnamed'}, is {wanted} for this lesson")


def _difference(before: Checkpoint, after: Checkpoint) -> list[str]:
    keys = sorted(key for key in {*before.objects, *after.objects} if key[0] not in before.unserved)
    return ["/".join(key) for key in keys if before.objects.get(key) != after.objects.get(key)]


def _file(lab: Lab) -> Path:
    return lab.settings.home / "lesson.json"


def _save(file: Path, name: str, found: Checkpoint) -> None:
    objects = [[list(key), value] for key, value in found.objects.items()]
    kept = {"lesson": name, "found": objects, "unserved": sorted(found.unserved)}
    part = file.with_suffix(".part")
    part.write_text(json.dumps(kept))
    part.replace(file)


def _load(file: Path, name: str) -> Checkpoint | None:
    """What lesson `name` found when it was begun and not ended; None otherwise, also for a broken file."""
    try:
        kept = json.loads(file.read_text())
        if kept["lesson"] != name:
            return None
        objects = {(key[0], key[1], key[2]): value for key, value in kept["found"]}
        return Checkpoint(objects, frozenset(kept.get("unserved", ())))
    except (FileNotFoundError, ValueError, KeyError, IndexError, TypeError):
        return None
