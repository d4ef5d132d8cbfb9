from __future__ import annotations

import pytest

from meshlab.errors import WaitTimeout
from meshlab.notebook.claims import Claim, claim
from meshlab.notebook.waiting import until


def test_a_claim_that_holds_is_printed_with_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    claim("every answer came from v0.2", True, seen={"v0.2": 400})
    assert capsys.readouterr().out == "✓ every answer came from v0.2  [{'v0.2': 400}]\n"


def test_a_claim_that_does_not_hold_fails_the_lesson_and_says_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"from v0.2 — not so; seen: \{'v0.1': 3\}\n  next: lesson"):
        claim("every answer came from v0.2", False, seen={"v0.1": 3})


def test_what_was_seen_is_escaped_in_html() -> None:
    assert "&lt;b&gt;" in Claim("x", "<b>")._repr_html_()


def test_waiting_returns_the_value_and_the_time() -> None:
    answers = iter([None, "", "ready"])
    waited = until(lambda: next(answers), timeout=5)
    assert waited.value == "ready" and waited.looks == 3 and 0 < waited.seconds < 5


def test_waiting_in_vain_names_the_condition_and_the_last_look() -> None:
    with pytest.raises(WaitTimeout, match=r"all targets up did not come true within 0\.05 s") as caught:
        until(lambda: 0, timeout=0.05, what="all targets up", then="kubectl get pods")
    assert "gave 0" in caught.value.why and caught.value.then == "kubectl get pods"
