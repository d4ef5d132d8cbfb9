from __future__ import annotations

import pytest

from meshlab.notebook.exercise import Exercise, Outcome, Problem, Verdict


def judge(answer: object) -> Verdict:
    if answer is None:
        return Verdict.not_attempted("give a number")
    return Verdict.right("2 it is") if answer == 2 else Verdict.not_yet(f"{answer} is not 1 + 1")


@pytest.fixture
def exercise() -> Exercise:
    return Exercise(Problem("sum", "What is 1 + 1?", judge, ("count", "on fingers"), "ex.check(2)"))


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (None, Outcome.NOT_ATTEMPTED, "not attempted: give a number"),
        (3, Outcome.NOT_YET, "not yet, because 3 is not 1 + 1"),
        (2, Outcome.RIGHT, "right: 2 it is"),
    ],
)
def test_a_check_has_three_outcomes_with_reasons(
    exercise: Exercise, answer: object, outcome: Outcome, words: str
) -> None:
    verdict = exercise.check(answer)
    assert verdict.outcome is outcome and str(verdict) == words


def test_strict_mode_raises_for_a_wrong_answer_only(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHLAB_STRICT", "1")
    assert exercise.check(2).outcome is Outcome.RIGHT
    with pytest.raises(AssertionError, match="sum: not yet"):
        exercise.check(3)


def test_hints_come_one_after_the_other_and_the_last_stays(exercise: Exercise) -> None:
    assert [exercise.hint() for _ in range(3)] == [
        "hint 1 of 2: count", "hint 2 of 2: on fingers", "hint 2 of 2: on fingers"
    ]
    with pytest.raises(ValueError, match="hints 1 to 2"):
        exercise.hint(3)
