"""Never stuck: a reset from any mess, a cell that is interrupted, a kernel that dies in the middle of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from meshlab.checkpoint import difference
from meshlab.lab import Lab
from meshlab.notebook.lesson import Lesson
from meshlab.notebook.waiting import until

BOOK = Path(__file__).resolve().parents[2] / "notebooks" / "04-traffic-shifting.ipynb"
#: What a learner may have left behind: another version, more pods, rules of both generations, a limit, a stream.
MESS = """
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: left-over}
spec: {destination: {name: svcb}, precedence: 9, httpFault: {abort: {percent: 100, httpStatus: 503}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: left-over}
spec:
  hosts: [svca]
  http: [{fault: {abort: {percentage: {value: 100}, httpStatus: 500}}, route: [{destination: {host: svca}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: left-over}
spec: {mtls: {mode: STRICT}}
---
apiVersion: config.istio.io/v1alpha2
kind: denier
metadata: {name: left-over}
spec: {status: {code: 7, message: no}}
---
apiVersion: config.istio.io/v1alpha2
kind: checknothing
metadata: {name: left-over}
spec:
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: left-over}
spec: {actions: [{handler: left-over.denier, instances: [left-over.checknothing]}]}
"""


def make_a_mess(lab: Lab) -> None:
    lab.kubectl("apply --server-side -f istio-today/crds.yaml")
    lab.apply("svcb-http.yaml")
    lab.deploy("svcb-v0.2")
    lab.scale("svca", 2)
    lab.delete("rules/enable-svcb-engress-rule.yaml")
    lab.apply(MESS)
    lab.kubectl("annotate configmap istio -n istio-system meshlab.io/double-report=true")
    lab.load("http://svca/pay", rps=5, seconds=60)


def test_a_mess_is_cleared_by_a_reset_and_by_the_begin_of_another_lesson(lab: Lab) -> None:
    found = lab.checkpoint()
    lesson = Lesson.begin(lab, "04")
    start = lab.checkpoint()
    make_a_mess(lab)
    lesson.reset()
    assert difference(start, lab.checkpoint()) == []
    assert lab.curl("http://svca/pay", n=3).by_upstream() == {"v0.1": 3}
    assert lab.traffic.stop_all() == 0
    lab.reset()  # nothing to do: harmless
    make_a_mess(lab)
    lesson = Lesson.begin(lab, "05")
    assert difference(start, lab.checkpoint()) == []  # both begin alike
    lesson.end()
    assert difference(found, lab.checkpoint()) == []
    assert [name for *_, name in lab.checkpoint().objects if name == "left-over"] == [], "also of kinds that are new"


@contextmanager
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(extra_arguments=["--IPKernelApp.log_level=ERROR"])
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=300)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, source: str) -> str:
    """ "" when the cell went well, else its error's name."""
    reply = client.execute_interactive(source, timeout=300, output_hook=lambda message: None)["content"]
    return str(reply.get("ename", ""))


def test_a_kernel_that_is_interrupted_and_then_dies_in_the_middle_of_a_cell_loses_nothing(
    lab: Lab,
) -> None:
    first = nbformat.read(BOOK, as_version=4).cells[1].source
    before = lab.checkpoint()

    def streams() -> int:
        """How many requests svca served so far."""
        return lab.kubectl("logs deployment/svca -c svca").count("is serving")

    with kernel() as (manager, client):
        assert run(client, first) == ""
        assert run(client, 'lab.apply("rules/route-rules-svcb-v0.2-100.yaml"); lab.deploy("svcb-v0.2")') == ""
        served = streams()
        client.execute('while True: lab.curl("http://svca/pay")')
        until(lambda: streams() > served, timeout=120, what="the cell to be under way")
        manager.interrupt_kernel()
        client.get_shell_msg(timeout=120)
        assert run(client, first) == ""  # the cell before is run again
        served = streams()
        client.execute('load = lab.load("http://svca/pay", rps=20, seconds=60)\nwhile True: load.progress()')
        until(lambda: streams() > served + 3, timeout=120, what="the stream to run")
    with kernel() as (_, client):  # which shut the first one down with a kill
        assert run(client, first) == ""
        assert lab.traffic.stop_all() == 0
        assert lab.curl("http://svca/pay", n=3).by_upstream() == {"v0.1": 3}
        assert run(client, "lesson.end()") == ""
    assert difference(before, lab.checkpoint()) == []
