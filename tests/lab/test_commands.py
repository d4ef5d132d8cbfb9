"""Commands that need no lab that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlab.cli import main


def test_after_a_reset_the_commands_are_still_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were put there by `eval "$(meshlab env)"`, and the next thing that one types is `meshlab up`."""
    monkeypatch.setenv("MESHLAB_HOME", str(tmp_path / "home"))
    assert main(["env"]) == 0
    (tmp_path / "home" / "pods").mkdir()
    (tmp_path / "home" / "pods" / "log").write_text("a line")
    (tmp_path / "home" / "lab.db").write_text("rows")
    assert main(["reset"]) == 0
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["bin"]
    assert (tmp_path / "home" / "bin" / "meshlab").exists()
    assert main(["reset"]) == 0
    assert "deleted" in capsys.readouterr().out
