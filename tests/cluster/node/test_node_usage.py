"""What containers use, from /proc."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from meshlab.cluster.node.usage import Meter, Reading, Task, machine, measure, tasks


def test_a_container_is_its_leader_what_descends_from_it_and_its_session() -> None:
    known = {
        1: Task(0, 1, 5.0),
        10: Task(1, 10, 1.0), 11: Task(10, 10, 0.5), 12: Task(11, 12, 0.25),  # a session of its own, by descent
        13: Task(1, 10, 0.125),  # orphaned: by its session
        20: Task(1, 20, 2.0),
    }
    found = measure({"a": 10, "b": 20, "gone": 99}, known, 7.0)
    assert {key: reading.cpu for key, reading in found.items()} == {"a": 1.875, "b": 2.0}


@pytest.mark.parametrize(("kept", "at", "cpu", "cores"), [
    ([], 10.0, 5.0, 0.5),  # since it started
    ([(0.0, 0.0), (15.0, 3.0)], 25.0, 8.0, 0.5),
    ([(0.0, 0.0), (15.0, 3.0)], 16.0, 8.0, 0.5),  # one second is too short: since the reading before
    ([(15.0, 9.0)], 25.0, 8.0, 0.0),  # time that went with an ended process does not count backwards
])
def test_use_is_the_difference_to_an_earlier_reading(kept: list[tuple[float, float]], at: float, cpu: float,
                                                     cores: float) -> None:
    meter = Meter()
    for moment, seconds in kept:
        meter.keep({"a": Reading(moment, seconds, 1)})
    assert meter.samples({"a": Reading(at, cpu, 64)}, {"a": 0.0})["a"].cpu == cores


def test_real_processes_are_measured() -> None:
    spin = "while True: pass"
    with subprocess.Popen([sys.executable, "-c", spin], start_new_session=True) as child:
        try:
            before, wanted = time.monotonic(), None
            while wanted is None or (wanted.cpu < 0.05 and time.monotonic() - before < 60):
                wanted = measure({"a": child.pid}, tasks(), time.monotonic()).get("a")
            assert wanted.cpu >= 0.05
            assert 10**6 < wanted.memory < 10**8
        finally:
            child.kill()


def test_the_machine_itself_is_measured() -> None:
    found = machine(1.0)
    assert found.cpu > 0
    assert found.memory > 10**7
