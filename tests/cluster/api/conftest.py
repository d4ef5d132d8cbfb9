"""One API server for the tests of this folder, and a namespace for each."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from webhook_lab import Hook, running_hook

from meshlab.cluster import Cluster
from meshlab.kube import Kube, Raw

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Kube:
    return cluster.kube


@pytest.fixture
def namespace(kube: Kube) -> str:
    name = f"test-{next(_numbers)}"
    kube.create(("v1", "namespaces"), {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})
    return name


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as running:
        yield running


@pytest.fixture
def send(kube: Kube, namespace: str) -> Callable[..., Raw]:
    """send(method, path, body, type=…, accept=…): `{ns}` in the path is the test's namespace."""
    import json

    def call(method: str, path: str, body: Any = None, *, type: str = "application/json", accept: str = "") -> Raw:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": type} if data is not None else {}
        if accept:
            headers["Accept"] = accept
        return kube.raw(method, path.replace("{ns}", namespace), data, headers)

    return call


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Real kubectl in the test's namespace; fails the test unless `ok=False`."""
    program = str(Path(sys.executable).parent / "kubectl")

    def run(*args: str, input: str | None = None, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, "--namespace", namespace, *args], input=input, capture_output=True, text=True, timeout=180,
            env=cluster.environ,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    return run
