"""An installation that is killed at any moment: the next one goes on, and an uninstall leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_server import Fault, FaultyServer, dropped
from stored import inventory

from meshlab.cluster import Cluster
from meshlab.errors import WaitTimeout
from meshlab.lab import Lab
from meshlab.real.cluster import RealCluster
from meshlab.real.contexts import Context
from meshlab.settings import Settings

#: What the release process would have stamped the charts with.
STAMPED = {"istiod": {"global": {"hub": "docker.io/istio", "tag": "1.30.3"}}}
WRITES = "^(POST|PUT|PATCH|DELETE) (?!.*selfsubject)"
PROGRAM = f"""
import sys
from pathlib import Path
from meshlab.lab import Lab
from meshlab.real.cluster import RealCluster
from meshlab.real.contexts import Context
from meshlab.settings import Settings

home, charts = map(Path, sys.argv[1:3])
lab = Lab(Settings(home), engine=RealCluster(Settings(home), Context("x", "x", "")), report=lambda line: None)
if sys.argv[3] == "uninstall":
    lab.uninstall()
else:
    lab.install(charts=charts, timeout=0.2, values={STAMPED!r})
"""


@pytest.fixture
def lab(kubernetes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("no_proxy", "*")
    home = tmp_path / "home"
    home.mkdir()
    (home / "kubeconfig").write_text(kubernetes.kubeconfig.read_text())
    cluster = RealCluster(Settings(home), Context("meshlab", "meshlab", kubernetes.server))
    return Lab(cluster.settings, engine=cluster, report=lambda line: None)


def killed(kubernetes: Cluster, folder: Path, charts: Path, verb: str, write: int) -> int:
    """Runs `verb` in a process that is killed when its n-th write has arrived, n from 0; how many there were."""
    home = folder / "killed"
    home.mkdir(exist_ok=True)
    with FaultyServer(kubernetes.server, kubernetes.token, folder) as server:
        (home / "kubeconfig").write_text(server.kubeconfig.read_text())
        words = [sys.executable, "-c", PROGRAM, str(home), str(charts), verb]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def deed(handler: object) -> bool:
            handler.forward()  # type: ignore[attr-defined]
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return bool(dropped(handler))  # type: ignore[arg-type]

        server.faults += [Fault(WRITES, lambda handler: False, times=write), Fault(WRITES, deed)]
        process.wait(180)
        return len(server.requests(WRITES))


def test_an_installation_that_was_killed_goes_on_and_so_does_an_uninstallation(
    kubernetes: Cluster, lab: Lab, charts: Path, tmp_path: Path
) -> None:
    before = inventory(lab)
    # Of some forty writes one amid istiod's objects; on the way back, amid the definitions.
    assert killed(kubernetes, tmp_path, charts, "install", 25) > 25
    half = {each for each in inventory(lab) if "Secret " not in each}
    with pytest.raises(WaitTimeout, match="istiod"):
        lab.install(charts=charts, timeout=0.2, values=STAMPED)
    assert half <= inventory(lab)
    assert killed(kubernetes, tmp_path, charts, "uninstall", 25) > 25
    lab.uninstall()
    assert inventory(lab) == before
