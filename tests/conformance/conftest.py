"""One suite for every engine.

    pytest tests/conformance                          the embedded lab; and the engine for clusters on the embedded
                                                      Kubernetes, with a stand-in for istiod
    pytest tests/conformance --engine-context NAME    also a cluster of your kubeconfig, with the real Istio: it is
                                                      installed if there is none, and removed again afterwards
    … --lessons                                       also every lesson, exercises solved, on the engine for clusters

What the stand-in shows: the whole way from a context to requests that a translated rule leads, with meshlab's own
Pilot and sidecars in the place of Istio's. What it cannot show is Istio itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import FaultyServer

from meshlab.cluster import Cluster, Parts
from meshlab.installation import wait_webhooks
from meshlab.lab import Lab, connect

USERS = pytest.StashKey[str]()
HERE = Path(__file__).parent
CHARTS = HERE / "charts"
ADDONS = ("prometheus", "servicegraph", "zipkin")
#: Engine → the fixture with a lab on it.
FIXTURES = {"embedded": "embedded", "stand-in": "cluster_on_embedded", "cluster": "real"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    engines = [each for each in FIXTURES if each != "cluster" or metafunc.config.getoption("--engine-context")]
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines, indirect=True, scope="module")
    if "cluster" in metafunc.fixturenames:
        metafunc.parametrize("cluster", engines[1:], indirect=True, scope="module")


def pytest_configure(config: pytest.Config) -> None:
    """The kubeconfig that whoever started the tests means; labs put theirs in its place."""
    config.stash[USERS] = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def keep(patch: pytest.MonkeyPatch) -> None:
    """What `connect` puts into the environment is gone when the patch is undone."""
    ours = ("MESHLAB_HOME", "MESHLAB_CONTEXT", "MESHLAB_CONFIRM", "MESHLAB_KUBECONFIG")
    for name in ("KUBECONFIG", "KUBECACHEDIR", "PATH", *ours):
        patch.setenv(name, os.environ.get(name, ""))
    patch.delenv("KUBECONFIG")


@pytest.fixture(scope="session")
def charts() -> Path:
    """Istio's own, of the pinned version."""
    return CHARTS


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Istio's definitions, and in the place of istiod what speaks of meshlab's own Pilot in istiod's words."""
    folder = tmp_path_factory.mktemp("stand-in")
    shutil.copy(CHARTS / "base-1.30.3.tgz", folder)
    shutil.copytree(HERE / "stand_in" / "istiod", folder / "istiod")
    return folder


@pytest.fixture(scope="module")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance") / "home"


@pytest.fixture(scope="module")
def embedded(lab_home: Path) -> Iterator[Lab]:
    """An embedded lab of this suite's own, with its control plane."""
    from meshlab.cluster.daemon import stop

    with pytest.MonkeyPatch.context() as patch:
        keep(patch)
        patch.setenv("MESHLAB_HOME", str(lab_home))
        lab = connect(context="")
        try:
            lab.require("control-plane")
            yield lab
        finally:
            assert stop(lab.settings) == []


@pytest.fixture(scope="module")
def cluster_on_embedded(embedded: Lab, stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The engine for clusters, on the embedded Kubernetes; its demo goes when the tests are over."""
    users = tmp_path_factory.mktemp("user") / "config"
    shutil.copy(embedded.settings.kubeconfig, users)
    with pytest.MonkeyPatch.context() as patch:
        keep(patch)
        lab = connect(context="meshlab", kubeconfig=users)
        lab.install(charts=stand_in, gateway=False)
        # Sidecars are injected as istiod would: by a webhook, into pods that ask for one.
        embedded.kubectl("apply -f istio-today/webhooks.yaml")
        wait_webhooks(embedded.access, timeout=30)
        yield lab
        embedded.kubectl("delete -f istio-today/webhooks.yaml")
        lab.uninstall()


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The cluster that --engine-context names. An Istio that was there stays."""
    name = request.config.getoption("--engine-context")
    with pytest.MonkeyPatch.context() as patch:
        users = request.config.stash[USERS]
        keep(patch)
        lab = connect(context=name, kubeconfig=users, confirm=name)
        found = lab.preflight()
        if not found.ok:
            pytest.skip(f"the cluster lacks what the lessons need:\n{found}")
        lab.install()
        yield lab
        lab.uninstall()


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Lab:
    """A lab on the engine for clusters: "stand-in", or "cluster" for that of --engine-context."""
    lab: Lab = request.getfixturevalue(FIXTURES[request.param])
    return lab


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab with the demo in it, on each engine in turn; the demo is gone before the next engine has its turn."""
    lab: Lab = request.getfixturevalue(FIXTURES[request.param])
    lab.require("control-plane", "demo")
    found = lab.checkpoint()
    yield lab
    lab.restore(found)
    lab.remove("svca-v0.1", "svcb-v0.1", "svcb-v0.2", "msgd", "client")
    if request.param == "embedded":
        folder = "istio-0.4.0/install/kubernetes/addons"
        lab.kubectl(" ".join(["delete --ignore-not-found", *(f"-f {folder}/{name}.yaml" for name in ADDONS)]))


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[Cluster]:
    """With controllers and no node: what is installed is made, and its pods stay Pending."""
    with Cluster(parts=Parts.CONTROLLERS) as running:
        yield running


@pytest.fixture
def server(kubernetes: Cluster, tmp_path: Path) -> Iterator[FaultyServer]:
    """The same cluster behind a proxy that can be told to fail."""
    with FaultyServer(kubernetes.server, kubernetes.token, tmp_path) as running:
        yield running
