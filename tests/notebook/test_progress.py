"""What is solved stays solved, whatever happens to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlab.notebook.exercise import Verdict
from meshlab.notebook.pages import address_of
from meshlab.notebook.progress import EXERCISES, Progress


def test_right_once_stays_right_and_another_session_sees_it(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.json")
    progress.record("03", "hands off", Verdict.not_yet("because"))
    assert progress.solved == {"03": {"hands off": False}}
    progress.record("03", "hands off", Verdict.right())
    progress.record("03", "hands off", Verdict.not_yet("because"))
    progress.record("03", "another 404", Verdict.not_attempted())
    again = Progress(tmp_path / "progress.json")
    assert again.solved == {"03": {"hands off": True}}
    assert f"03  1 of {EXERCISES['03']}" in str(again) and "✓" in again._repr_html_()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"03": 1}', '"x"'])
def test_a_broken_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    progress = Progress(tmp_path / "progress.json")
    assert progress.solved == {}
    progress.record("03", "hands off", Verdict.right())
    assert progress.solved == {"03": {"hands off": True}}


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.105.160.37:9090/classic/targets"),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/me/"}, "/user/me/proxy/127.105.160.37:9090/classic/targets"),
    ],
)
def test_a_page_is_reached_directly_or_behind_the_hubs_prefix(environ: dict[str, str], url: str) -> None:
    assert address_of("127.105.160.37", 9090, "classic/targets", environ) == url
