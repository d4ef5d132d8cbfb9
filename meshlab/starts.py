"""The state that each lesson starts from, and how the lab gets there from any other.

What a lesson *needs* (the control plane, demo services, an add-on) is brought up and stays. What would falsify its
measurements (rules of others, other versions of svcb, streams of requests) is set aside, and is put back at its end
by whoever remembers what was found.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Checkpoint, interfering
from .checkpoint import restore as restore_objects
from .phrases import tr
from .renew import replace_pods
from .states import Deployment, coming, not_ready, wait_ready
from .today import today
from .traffic import Traffic
from .tutorial import DEMO
from .underway import Underway

if TYPE_CHECKING:
    from .lab import Lab

__all__ = ["STARTS", "Start", "arrange", "come_to_rest", "put_back", "reset", "restore", "stop_streams"]

#: The demo's Services that have a port to name.
NAMED = ("svca", "svcb")


#: The pod of the lessons that send requests from inside the mesh.
PROBE = Deployment("default", "probe")


@dataclass(frozen=True)
class Start:
    """`needs` as `lab.require` takes them. `rules` are the mesh's only ones, files of demo/rules without `.yaml`.

    The ports of svca and svcb are "unnamed" as the tutorial writes them, "http", or (None) left alone. `today` asks
    for the kinds of today's Istio, `inside` for a pod in the mesh that sends requests. `keep` names Deployments and
    Services that the lesson brings up on purpose: they stay after its end.
    """

    needs: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    ports: str | None = "unnamed"
    today: bool = False
    inside: bool = False
    keep: tuple[str, ...] = ()


_DEMO = ("control-plane", "demo")
_WAY_OUT = ("enable-svcb-engress-rule",)
STARTS: Mapping[str, Start] = {
    "00": Start(ports=None),
    "01": Start(ports=None),
    "02": Start(("control-plane", "client"), keep=("svca", "svcb")),
    "03": Start(_DEMO, inside=True),
    "04": Start(_DEMO, _WAY_OUT),
    "05": Start(_DEMO, _WAY_OUT),
    "06": Start((*_DEMO, "prometheus"), _WAY_OUT),
    "07": Start(_DEMO, _WAY_OUT),
    "08": Start(_DEMO, _WAY_OUT, "http", inside=True),
    "09": Start(_DEMO, _WAY_OUT, "http", inside=True),
    "10": Start(_DEMO, _WAY_OUT, "http", today=True, inside=True),
    "11": Start(_DEMO, _WAY_OUT, today=True),
    "12": Start(_DEMO, _WAY_OUT, "http", inside=True),
    "13": Start(_DEMO, _WAY_OUT, "http", today=True),
}


def arrange(lab: Lab, start: Start) -> None:
    """Store what `start` is made of; says in a line each what that took. What holds already is left alone.

    `come_to_rest` waits until it is in force.
    """
    lab.require(*start.needs)
    if start.today:
        today(lab)
    if "control-plane" in start.needs:
        _set_rules(lab, start.rules)
    if "demo" in start.needs:
        _one_of_each(lab)
    if start.ports is not None:
        for service in NAMED:
            _name_port(lab, service, start.ports)


def come_to_rest(lab: Lab) -> None:
    """Wait until every sidecar acts on what is stored; end the streams that run, and connections that lead nowhere."""
    lab.settled()
    stop_streams(lab)
    drop_dead_connections(lab)


def reset(lab: Lab, lesson: str | None = None) -> float:
    """Back to where a lesson starts, the one under way unless another is named; returns the seconds.

    Raises `ValueError` for a lesson that there is none of. Whatever that lesson's end is to put back stays remembered.
    """
    began = time.monotonic()
    under = Underway.load(lab.settings)
    name = lesson or (under.name if under else None)
    if name is None:
        lab.report("no lesson is under way: nothing to bring back; lab.reset('04') brings the start of lesson 04")
        return 0.0
    if name not in STARTS:
        raise ValueError(f"lessons are {', '.join(STARTS)}, not {name!r}")
    if under is not None and under.name == name and under.start is not None:
        for change in lab.restore(under.start):
            lab.report(change)
    arrange(lab, STARTS[name])
    come_to_rest(lab)
    seconds = time.monotonic() - began
    lab.report(tr("lesson {name}: back at its start after {seconds:.1f} s", name=name, seconds=seconds))
    return seconds


def _one_of_each(lab: Lab) -> None:
    """One pod of svca, one of svcb v0.1, no other version: where the tutorial stands before it shifts traffic."""
    for found in lab.access.items("apps/v1", "Deployment", "default"):
        name, replicas = found["metadata"]["name"], found["spec"].get("replicas", 1)
        if name in ("svcb-v0.2", "svcb-broken"):
            lab.remove(name)
            lab.report(tr("set aside until the end of the lesson: {what}", what=f"Deployment {name}"))
        elif name in NAMED and replicas != 1:
            lab.scale(name, 1)
            lab.report(tr("{name}: had {replicas} pods, has one for this lesson", name=name, replicas=replicas))


def stop_streams(lab: Lab) -> None:
    """Stop streams that somebody left running: a lesson counts requests, and means its own."""
    senders = {DEMO["client"][0]: lab.traffic, PROBE: Traffic(lab.access, PROBE.namespace, PROBE.name)}
    lacking = not_ready(lab.access, senders)
    count = sum(traffic.stop_all() for sender, traffic in senders.items() if sender not in lacking)
    if count:
        lab.report(tr("streams of traffic that ran, and were stopped: {count}", count=count))


def put_back(lab: Lab, found: Checkpoint) -> list[str]:
    """Stores what differs from `found` as it was; a line for each change. Pods and sidecars follow by themselves."""
    done = restore_objects(lab.access, found, lab.writer, lab.engine.selector)
    if _strands_svca(done):
        replace_pods(lab.access, DEMO["svca-v0.1"][0])
    return done


def restore(lab: Lab, found: Checkpoint, *, timeout: float) -> list[str]:
    """As `put_back`, and waits until pods and sidecars have followed. Raises `WaitTimeout`."""
    done = restore_objects(lab.access, found, lab.writer, lab.engine.selector)
    if _strands_svca(done):
        lab.renew("svca")
    kept = [Deployment(space, name) for kind, space, name in found.objects if kind == "Deployment"]
    wait_ready(lab.access, kept, timeout=timeout, report=lambda line: None)
    lab.settled()
    return done


def _strands_svca(changes: Iterable[str]) -> bool:
    """svca keeps its connection to svcb, and with it the listener of the protocol that a Service's port had."""
    return any(" Service default/" in line for line in changes)


def drop_dead_connections(lab: Lab) -> None:
    """Make sure that svca reaches svcb, if both are there: by a new pod of svca if need be.

    svca keeps its connection to svcb. One that was opened while svcb's port was HTTP belongs to the listener
    for all hosts on port 80, which stays when svcb's port becomes TCP; only its route to svcb goes. Requests on
    that connection are answered 404 for as long as it is kept, 90 s of idleness and more. Istio 0.4 does the same.
    """
    if coming(lab.access, [DEMO[name][0] for name in ("svca-v0.1", "svcb-v0.1", "client")]):
        return
    if not lab.curl("http://svca/pay")[0].upstream:
        lab.report(tr("svca holds a connection that leads nowhere any more: its pod is replaced"))
        lab.renew("svca")


def _set_rules(lab: Lab, wanted: Iterable[str]) -> None:
    """Exactly the wanted rules: others go, missing or different ones come."""
    documents = {
        (rule["kind"], rule["metadata"]["name"]): rule
        for file in wanted
        for rule in lab.documents(Path("demo") / "rules" / f"{file}.yaml")
    }
    there: dict[tuple[str, str], Mapping[str, Any]] = {}
    gone = []
    for rule in interfering(lab.access, lab.engine.selector):
        key = (str(rule["kind"]), str(rule["metadata"]["name"]))
        if key in documents and rule["metadata"].get("namespace", "default") == "default":
            there[key] = rule
        else:
            gone.append(rule)
            lab.report(tr("set aside until the end of the lesson: {what}", what=f"{key[0]} {key[1]}"))
    if gone:
        lab.writer.delete(gone, timeout=None)
    for key, rule in documents.items():
        if key not in there or there[key].get("spec") != rule.get("spec"):
            lab.writer.apply([rule], timeout=None)
            lab.report(tr("put in force for this lesson: {what}", what=f"{key[0]} {key[1]}"))


def _name_port(lab: Lab, service: str, wanted: str) -> None:
    """The first port of a Service gets the name "http" or none. A JSON patch, because it can take a name away."""
    path = f"/api/v1/namespaces/default/services/{service}"
    reply = lab.access.request("GET", path, check=False)
    if reply.status == 404:
        return
    name = reply.json()["spec"]["ports"][0].get("name", "")
    # What the mesh takes for TCP is a port without a name, or one of another name where it looks at the first bytes.
    spelt = lab.engine.unnamed_port if wanted == "unnamed" else wanted
    if name == spelt:
        return
    change: dict[str, Any] = {"op": "remove", "path": "/spec/ports/0/name"}
    if spelt:
        change = {"op": "add", "path": "/spec/ports/0/name", "value": spelt}
    headers = {"Content-Type": "application/json-patch+json"}
    lab.access.request("PATCH", path, body=[change], headers=headers)
    lab.report(
        tr(
            "port 80 of {service}: was {name}, is {wanted} for this lesson",
            service=service,
            name=name or tr("unnamed"),
            wanted=spelt or tr("unnamed"),
        )
    )
