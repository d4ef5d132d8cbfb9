"""`python -m meshlab.addons.prometheus`: the real Prometheus, fitted into a pod.

It rewrites the configuration so that cluster names
resolve, keeps its data in the pod's folder and then becomes Prometheus by exec. Prometheus is no Python
program, so the shim that resolves names for the others does not reach it: each scrape job goes through the
node's forward proxy instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlab.errors import ManifestError, MeshlabError

__all__ = ["Start", "main", "plan", "with_files", "with_proxy", "with_rules"]

#: Port of the node's forward proxy.
PROXY_PORT = 3128
PORT = 9090


@dataclass(frozen=True)
class Start:
    """The command line that starts Prometheus, and the configuration to write before."""

    program: Path
    arguments: tuple[str, ...]
    config_file: Path
    config: str
    folders: tuple[Path, ...] = field(default=())
    #: File of targets to be kept current beside it; None where nothing is discovered.
    discovered: Path | None = None


def with_proxy(config: Mapping[str, Any], proxy: str) -> dict[str, Any]:
    """The configuration with `proxy_url` in every scrape job that has none of its own."""
    jobs = [{"proxy_url": proxy, **job} for job in config.get("scrape_configs") or ()]
    return {**config, "scrape_configs": jobs}


def with_files(config: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The configuration with a file of targets in place of discovery in Kubernetes; see `discovery`.

    Raises ManifestError for roles other than `pod`.
    """
    jobs = []
    for job in config.get("scrape_configs") or ():
        if found := job.get("kubernetes_sd_configs"):
            if other := [each.get("role") for each in found if each.get("role") != "pod"]:
                raise ManifestError(
                    f"job {job.get('job_name')!r} discovers {other[0]!r}",
                    why="the lab's Prometheus discovers pods only",
                )
            rest = {key: value for key, value in job.items() if key != "kubernetes_sd_configs"}
            job = {**rest, "file_sd_configs": [{"files": [str(file)], "refresh_interval": "1m"}]}
        jobs.append(job)
    return {**config, "scrape_configs": jobs}


def with_rules(config: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The configuration with files of rules where the pod's volumes are: `root` is what the container sees as `/`."""
    if not config.get("rule_files"):
        return dict(config)
    return {**config, "rule_files": [f"{root}{each}" if each[0] == "/" else each for each in config["rule_files"]]}


def plan(arguments: Sequence[str], environ: Mapping[str, str], program: Path) -> Start:
    """How to start `program` for these arguments in this environment. Raises ManifestError.

    POD_IP: where to listen; MESHLAB_NODE_IP: whose proxy to use (none: direct); MESHLAB_POD_DIR: where data go;
    MESHLAB_ROOT: where volumes are mounted; JUPYTERHUB_SERVICE_PREFIX: below which path a browser sees it, behind a
    hub (inside, paths stay as they are), at the Service's address that MESHLAB_NETWORK holds.
    """
    import yaml

    kept = [a for a in arguments if not a.lstrip("-").startswith(("config.file", "web.listen-address"))]
    wanted = [a for a in arguments if a.lstrip("-").startswith("config.file")]
    source = Path(wanted[-1].partition("=")[2] if wanted else "/etc/prometheus/prometheus.yml")
    try:
        config = yaml.safe_load(source.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ManifestError(f"Prometheus' configuration {source} cannot be read", why=str(error)) from error
    if not isinstance(config, dict):
        raise ManifestError(f"Prometheus' configuration {source} is no mapping")
    if node := environ.get("MESHLAB_NODE_IP"):
        config = with_proxy(config, f"http://{node}:{PROXY_PORT}")
    config = with_rules(config, environ.get("MESHLAB_ROOT", ""))
    home = Path(environ.get("MESHLAB_POD_DIR") or ".").absolute() / "prometheus"
    discovers = any("kubernetes_sd_configs" in job for job in config.get("scrape_configs") or ())
    discovered = home / "targets" / "pods.json" if discovers else None
    if discovered is not None:
        config = with_files(config, discovered)
    ready = [_modern(argument) for argument in kept]
    if not any(a.startswith("--storage.tsdb.path") for a in ready):
        ready.append(f"--storage.tsdb.path={home / 'data'}")
    assets = program.parent.parent / "share/prometheus/web"
    if assets.is_dir():  # an unpacked Debian package: its pages are where it is
        ready.append(f"--web.local-assets={assets}")
    if prefix := environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        path = f"{prefix.rstrip('/')}/proxy/{_service(environ)}:{PORT}/"
        ready += [f"--web.external-url=http://127.0.0.1{path}", "--web.route-prefix=/"]
    ready.append(f"--web.listen-address={environ.get('POD_IP', '127.0.0.1')}:{PORT}")
    config_file = home / "prometheus.yml"
    return Start(program, (f"--config.file={config_file}", *ready), config_file,
                 yaml.safe_dump(config, sort_keys=False),
                 (home, home / "data", home / "targets"), discovered)


def _service(environ: Mapping[str, str]) -> str:
    """The address of the Service in front of this pod. Raises ManifestError while there is none."""
    services = json.loads(Path(environ["MESHLAB_NETWORK"]).read_text()).get("services") or {}
    if "istio-system/prometheus" not in services:
        raise ManifestError("there is no Service prometheus yet", then="kubectl get services -n istio-system")
    return str(services["istio-system/prometheus"]["ip"])


def _modern(argument: str) -> str:
    """Flags of 2.0 that have been renamed since."""
    if argument.startswith("--storage.tsdb.retention="):
        return argument.replace("retention=", "retention.time=", 1)
    return argument


def main(argv: Sequence[str] | None = None) -> int:
    """Becomes Prometheus; returns only where that fails."""
    from meshlab.doctor import find_prometheus
    from meshlab.settings import Settings

    try:
        start = plan(sys.argv[1:] if argv is None else argv, os.environ,
                     find_prometheus(Settings.load()))
        for folder in start.folders:
            folder.mkdir(parents=True, exist_ok=True)
        start.config_file.write_text(start.config)
        if start.discovered is not None:
            subprocess.Popen([sys.executable, "-m", "meshlab.addons.discovery", str(start.discovered)])
        # The Go runtime takes a thread per processor and collects lazily; a lab wants it small.
        environment = {"GOMAXPROCS": "1", "GOGC": "50", **os.environ}
        os.execve(start.program, [str(start.program), *start.arguments], environment)
    except (MeshlabError, OSError) as error:
        print(f"prometheus: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
