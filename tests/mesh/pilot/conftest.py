"""The mesh that tests of Pilot share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pilot_cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """svca (one pod), svcb (v0.1 and v0.2), both HTTP, sidecars everywhere; db (TCP); one pod of each."""
    found = Cluster(tmp_path_factory.mktemp("m"))
    try:
        found.service("svca")
        found.service("svcb")
        found.pod("svca-1", "svca")
        found.pod("svcb-1", "svcb", "v0.1")
        found.pod("svcb-2", "svcb", "v0.2")
        for pod in list(found.pods):
            found.sidecar(pod)
        yield found
    finally:
        found.close()
