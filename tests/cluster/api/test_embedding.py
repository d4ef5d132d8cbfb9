"""What README promises to whoever embeds a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import kubernetes
import pytest

from meshlab.cluster import Cluster, Parts, cluster
from meshlab.errors import LabError

README = Path(__file__).resolve().parents[3] / "README.md"


def test_readme_s_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "Cluster" in block)
    first = code[: code.index("\nwith Cluster(parts=")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    found: dict[str, object] = {"subprocess": subprocess, "kubernetes": kubernetes}
    exec(first, found)  # noqa: S102 (it is ours)
    assert isinstance(found["client"], kubernetes.client.ApiClient)


def test_what_is_stored_in_a_folder_is_there_the_next_time(tmp_path: Path) -> None:
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "kept"}}
    with Cluster(tmp_path / "kept", parts=Parts.CONTROLLERS) as first:
        first.kube.create(("v1", "configmaps", "default"), obj)
        token = first.token
    with Cluster(tmp_path / "kept") as again:
        assert again.kube.get(("v1", "configmaps", "default", "kept"))["metadata"]["name"] == "kept"
        assert again.token == token


def test_many_run_at_the_same_time() -> None:
    with Cluster() as one, Cluster() as other:
        assert one.server != other.server and one.kubeconfig != other.kubeconfig
        assert one.kubeconfig.exists()
    assert not one.kubeconfig.exists()


def test_what_takes_too_long_to_start_is_stopped_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "STARTING", 0)
    late, others = Cluster(parts=Parts.ALL), set(threading.enumerate())
    with pytest.raises(LabError, match="did not answer within 0 s"), late:
        pytest.fail("it came up in no time")
    assert not [each for each in set(threading.enumerate()) - others if each.name == "meshlab cluster"]
    assert not late.kubeconfig.exists()
