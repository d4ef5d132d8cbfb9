"""Two pods from which the tests look: `inside` the mesh, with a sidecar, and `outside`, without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from behaviour_pods import Viewpoint, viewpoint

from meshlab.lab import Lab


@pytest.fixture(scope="session")
def _viewpoints(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Viewpoint, Viewpoint]]:
    folder = tmp_path_factory.mktemp("viewpoints")
    yield (
        viewpoint(lab, "default", "inside", folder, sidecar=True),
        viewpoint(lab, "client", "outside", folder, sidecar=False),
    )
    for namespace, name in (("default", "inside"), ("client", "outside")):
        lab.kubectl(f"delete deployment,service,configmap {name} -n {namespace}")


@pytest.fixture
def inside(_viewpoints: tuple[Viewpoint, Viewpoint]) -> Viewpoint:
    return _viewpoints[0]


@pytest.fixture
def outside(_viewpoints: tuple[Viewpoint, Viewpoint]) -> Viewpoint:
    return _viewpoints[1]
