"""`python -m meshlab.mesh.mixer`: the program of the image docker.io/istio/mixer:0.4.0.

gRPC (access logs) on 9091, the mesh's metrics on 42422, Mixer's own on 9093, what configuration is in force
on 9094. Inside a pod it listens on both of the pod's addresses: the sidecar beside it uses the private one.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from meshlab.errors import MeshlabError
from meshlab.mesh.exposition import CONTENT_TYPE, Family, labels_text, render
from meshlab.mesh.mixer.checks import Checker
from meshlab.mesh.mixer.config import Configuration
from meshlab.mesh.mixer.dispatch import Dispatcher
from meshlab.mesh.mixer.server import AccessLogServer
from meshlab.mesh.mixer.store import Store
from meshlab.mesh.mixer.workloads import Workloads
from meshlab.mesh.web import Answer, Request, Server, plain, to_json

__all__ = ["main"]

#: Seconds that sidecars are kept waiting at most for the first reading of configuration and pods (50 ms as a
#: rule).
FIRST_READ = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if argv is None else argv)
    workloads = Workloads()
    store: Store
    dispatcher = Dispatcher(workloads, _Out().write, count_outbound=lambda: store.double_report)
    checker = Checker(workloads, lambda line: print(line, file=sys.stderr, flush=True))

    def configure(configuration: Configuration) -> None:
        dispatcher.configure(configuration)
        checker.configure(configuration)

    store = Store(workloads, configure, namespace=options.configDefaultNamespace,
                  double_report=options.doubleReport)
    public = os.environ.get("POD_IP", "127.0.0.1")
    hosts = list(dict.fromkeys([public, os.environ.get("LOCAL_IP", public)]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        logs = AccessLogServer([f"{host}:{options.port}" for host in hosts], dispatcher.observe, checker.check)
        pages = [
            Server((public, options.prometheusPort), _metrics(dispatcher)),
            Server((public, options.monitoringPort), _own_metrics(dispatcher, checker, logs)),
            Server((public, options.configAPIPort), _configuration(dispatcher, checker, store)),
        ]
        store.open(options.configStore2URL)
    except (MeshlabError, OSError) as error:
        print(f"mixer: {error}", file=sys.stderr)
        return 1
    for page in pages:
        page.start()
    # Sidecars hold their entries meanwhile; see Store.wait.
    store.wait(FIRST_READ)
    logs.start()
    # What start-up made lives as long as the process: no reason to walk it at every collection.
    gc.collect()
    gc.freeze()
    print(f"mixer: listening on {', '.join(f'{h}:{p}' for h, p in zip(hosts, logs.ports, strict=True))}; "
          f"metrics on {pages[0].url}/metrics", file=sys.stderr, flush=True)
    stop.wait()
    logs.stop()
    store.close()
    for page in pages:
        page.close()
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mixer", allow_abbrev=False)
    parser.add_argument("--port", "-p", type=int, default=9091)
    parser.add_argument("--monitoringPort", type=int, default=9093)
    parser.add_argument("--configAPIPort", type=int, default=9094)
    parser.add_argument("--prometheusPort", type=int, default=42422)
    parser.add_argument("--configStore2URL", default="k8s://", help="k8s://[kubeconfig] or fs://folder")
    parser.add_argument("--configDefaultNamespace", default="istio-system")
    parser.add_argument("--doubleReport", action="store_true",
                        help="count what outbound listeners report, as 0.4.0 did")
    # Flags of the original that mean nothing here are accepted: its manifest runs as it is.
    parser.add_argument("--configStoreURL", "--zipkinURL", "--v", "-v", dest="ignored")
    parser.add_argument("--logtostderr", action="store_true")
    return parser.parse_known_args(argv)[0]


class _Out:
    """Standard output, for lines from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        with self._lock:
            sys.stdout.write(text)
            sys.stdout.flush()


def _metrics(dispatcher: Dispatcher) -> Any:
    def handle(request: Request) -> Answer:
        if request.path != "/metrics":
            return plain("not found\n", 404)
        return Answer(200, dispatcher.metrics(), CONTENT_TYPE)
    return handle


def _own_metrics(dispatcher: Dispatcher, checker: Checker, logs: AccessLogServer) -> Any:
    started = time.time()

    def handle(request: Request) -> Answer:
        if request.path in ("/healthz", "/ready"):
            return plain("ok\n")
        if request.path == "/version":
            return plain("0.4.0\n")
        if request.path != "/metrics":
            return plain("not found\n", 404)
        numbers = {
            "mixer_reports_total": ("counter", dispatcher.reports, "Log entries counted and logged"),
            "mixer_reports_ignored_total": (
                "counter", dispatcher.ignored, "Entries of outbound listeners, while those do not count"),
            "mixer_series_dropped_total": ("counter", dispatcher.dropped_series, "Series over the limit"),
            "mixer_streams": ("gauge", logs.streams, "Streams that sidecars hold open"),
            "mixer_config_rules": ("gauge", len(dispatcher.configuration.rules), "Rules in force"),
            "mixer_config_problems": (
                "gauge", len(dispatcher.configuration.problems), "Parts of the configuration left out"),
            "process_cpu_seconds_total": ("counter", time.process_time(), "CPU time"),
            "process_start_time_seconds": ("gauge", started, "Start, seconds since 1970"),
            "process_resident_memory_bytes": ("gauge", _resident(), "Resident memory"),
        }
        families = []
        for name, (kind, value, help_) in numbers.items():
            family = Family(name, kind, help_)
            family.number().value = value
            families.append(family)
        dispatches = Family("mixer_adapter_dispatch_count", "counter", "Combinations given to each handler")
        for (handler, template), count in sorted(dispatcher.dispatches.copy().items()):
            dispatches.number(labels_text({"handler": handler, "template": template})).value = count
        checks = Family("mixer_checks_total", "counter", "Answers to checks by their status")
        for status, count in sorted(checker.answers.copy().items()):
            checks.number(labels_text({"status": status})).value = count
        return Answer(200, render([*families, dispatches, checks]), CONTENT_TYPE)
    return handle


def _configuration(dispatcher: Dispatcher, checker: Checker, store: Store) -> Any:
    def handle(request: Request) -> Answer:
        if request.path == "/debug/inforce":
            try:
                wanted = int(request.query.get("resourceVersion", "0"))
                seconds = min(float(request.query.get("timeout", "5")), 60.0)
            except ValueError as error:
                return plain(f"{error}\n", 400)
            return to_json({"inForce": store.in_force(request.query.get("kind", ""), wanted, seconds)})
        now = dispatcher.configuration
        return to_json({
            "rules": [{
                "name": rule.name, "namespace": rule.namespace or "*", "match": rule.match.text,
                "protocol": rule.protocol or "any",
                "actions": [{"handler": action.handler, "instances": [i.name for i in action.instances]}
                            for action in rule.actions],
            } for rule in now.rules],
            "metrics": {name: "istio_" + info.name for name, info in now.metrics.items()},
            "problems": [*now.problems, *checker.problems],
        }, indent=2)
    return handle


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no pathlib for one number
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
