"""The process: `discovery`, as Istio's Deployment starts it.

    python -m meshlab.mesh.pilot discovery -v 2 --admission-service istio-pilot
    kubectl -n istio-system exec deploy/istio-pilot -c discovery -- pilot-discovery request GET /debug/syncz

ADS on $LOCAL_IP:8080, where the pod's own proxy reaches it; debug port on $POD_IP:15014; admission webhooks, as soon as
the cluster has a configuration of them, on $POD_IP:443.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["main"]

log = logging.getLogger("meshlab.pilot")

#: Seconds to wait for the first lists before serving what there is.
PATIENCE = 10.0
#: Port of the debug pages.
MONITORING = 15014
#: Where systems keep the authorities that they believe: Debian's, Fedora's, Alpine's place.
AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pilot-discovery", description="The mesh's control plane.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("discovery", help="serve proxies their configuration")
    run.add_argument("-v", "--v", type=int, default=0, metavar="LEVEL", help="log level; 2 and more: debug")
    run.add_argument("-a", "--appNamespace", default="", metavar="NAMESPACE", help="only this namespace")
    run.add_argument("-n", "--namespace", default="", help="namespace of the control plane")
    run.add_argument("--port", type=int, default=8080, help="of discovery")
    run.add_argument("--monitoringPort", type=int, default=MONITORING, help="of the debug pages")
    run.add_argument("--domain", default="cluster.local", help="DNS domain of the cluster")
    run.add_argument("--kubeconfig", default=None, help="default: $KUBECONFIG")
    run.add_argument("--admission-service", default="istio-pilot", metavar="SERVICE",
                     help="by whose name webhook configurations call this Pilot")
    # Taken because the Deployment may have them.
    run.add_argument("--meshConfig", default="", help=argparse.SUPPRESS)
    run.add_argument("--logtostderr", action="store_true", help=argparse.SUPPRESS)
    ask = commands.add_parser("request", help="ask the debug pages of the one that runs here")
    ask.add_argument("method", choices=["GET"])
    ask.add_argument("path")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT."""
    options = _arguments(sys.argv[1:] if argv is None else argv)
    if options.command == "request":
        return _request(options.path, (os.environ if environ is None else environ).get("POD_IP", "127.0.0.1"))
    logging.basicConfig(
        level=logging.DEBUG if options.v > 2 else logging.INFO, stream=sys.stderr,
        format="%(asctime)s %(levelname).1s %(message)s",
    )
    return asyncio.run(_serve(options, os.environ if environ is None else environ))


def _request(path: str, host: str) -> int:
    """Prints a debug page; 1 for any status but 200."""
    import http.client

    connection = http.client.HTTPConnection(host, MONITORING, timeout=60)
    try:
        connection.request("GET", "/" + path.lstrip("/"))
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode())
    except OSError as error:
        print(f"cannot reach Pilot's debug pages: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return int(answer.status != 200)


async def _serve(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from meshlab.kube import Kube
    from meshlab.mesh.pilot.admission import ACCOUNT, AdmissionWebhook
    from meshlab.mesh.pilot.ads import AdsServer
    from meshlab.mesh.pilot.control import Control
    from meshlab.mesh.pilot.debug import DebugServer
    from meshlab.mesh.pilot.proxy import Capture
    from meshlab.mesh.pilot.registry import Registry
    from meshlab.mesh.pilot.report import Reporter
    from meshlab.mesh.pilot.tokens import TokenReviewer
    from meshlab.mesh.pilot.watch import KubernetesSource
    from meshlab.mesh.pilot.world import Mesh
    from meshlab.settings import bound_port, unprivileged_port_start

    mesh = Mesh(domain=options.domain, low_port_start=unprivileged_port_start(),
                capture=Capture(environ.get("MESHLAB_CAPTURE") or Capture.SHIM.value),
                authorities=next((each for each in AUTHORITIES if Path(each).exists()), ""))
    kube = Kube.from_kubeconfig(options.kubeconfig)
    registry = Registry(mesh, os.path.isfile)
    source = KubernetesSource(kube, registry, options.appNamespace)
    control = Control(source)
    reporter = Reporter(kube, registry)
    namespace = options.namespace or environ.get("POD_NAMESPACE") or "istio-system"
    webhook = AdmissionWebhook(
        kube, lambda: registry.config, host=environ.get("POD_IP", "127.0.0.1"), port=bound_port(443),
        service=options.admission_service, namespace=namespace,
    )

    def pushed() -> None:
        reporter.changed()
        if control.world is not None:
            webhook.certified(control.world.security.certificates.get(f"{namespace}/{ACCOUNT}"))

    control.pushed = pushed
    debug = DebugServer(control, environ.get("POD_IP", "127.0.0.1"), options.monitoringPort)
    ads = AdsServer(control, f"{environ.get('LOCAL_IP', '127.0.0.1')}:{options.port}", TokenReviewer(kube))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    source.start(control.changed)
    await debug.start()
    missing = await source.synced(PATIENCE)
    if missing:
        log.warning("serving without %s: %s", ", ".join(missing), source.errors())
    control.push()
    running = asyncio.create_task(control.run())
    reporting, admitting = asyncio.create_task(reporter.run()), asyncio.create_task(webhook.run())
    await asyncio.wait({asyncio.create_task(webhook.settled.wait()), admitting}, return_when=asyncio.FIRST_COMPLETED)
    await ads.start()
    log.info("discovery on %s, debug on port %d", ads.address, debug.port)
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({running, reporting, admitting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await ads.stop()
    await debug.stop()
    source.stop()
    for task in (running, reporting, admitting):
        if task.done():
            task.result()  # raises what ended it
        task.cancel()
    return 0
