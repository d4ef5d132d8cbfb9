"""One lab for the whole run: its own folder, a free set of addresses, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlab.lab import Lab, connect, environment


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab") / "home"


@pytest.fixture(scope="session")
def lab(lab_home: Path) -> Iterator[Lab]:
    """The lab with the control plane and the demo services; `meshlab down` must leave nothing."""
    from meshlab.cluster.daemon import stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESHLAB_HOME", str(lab_home))
        patch.delenv("KUBECONFIG", raising=False)
        patch.setenv("PATH", os.environ["PATH"])
        lab = connect()
        try:
            lab.require("control-plane", "demo")
            yield lab
        finally:
            left = stop(lab.settings)
        assert left == []


@pytest.fixture(scope="session")
def shell_environment(lab: Lab) -> dict[str, str]:
    """What a learner's shell has after `eval "$(meshlab env)"`."""
    return {**os.environ, **environment(lab.settings, os.environ)}
