from __future__ import annotations

import random

import pytest

from meshlab.notebook.chance import band, split


def test_the_band_of_fair_draws_over_400_requests_is_49_to_either_side() -> None:
    assert (band(400, 0.5).low, band(400, 0.5).high) == (151, 249)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (1.0, 400)])
def test_a_share_of_nothing_or_all_leaves_no_room_for_chance(share: float, count: int) -> None:
    limits = band(400, share)
    assert (limits.low, limits.high) == (count, count)
    assert str(limits) == f"exactly {count} of 400"


@pytest.mark.parametrize(
    ("false_alarm", "n", "share"), [(0.05, 400, 0.5), (0.05, 1000, 0.9), (0.2, 50, 0.1), (0.01, 200, 0.99)]
)
def test_fair_draws_leave_the_band_no_more_often_than_promised(false_alarm: float, n: int, share: float) -> None:
    limits, dice = band(n, share, false_alarm=false_alarm), random.Random(7)  # noqa: S311 (dice, no secret)
    runs = 1500
    outside = sum(sum(dice.random() < share for _ in range(n)) not in limits for _ in range(runs))
    assert outside / runs <= false_alarm * 1.3  # 1.3: room for the dice of this test, with a fixed seed


@pytest.mark.parametrize("true_share", [0.7, 0.3])
def test_a_split_of_70_to_30_does_not_pass_as_half_and_half(true_share: float) -> None:
    dice = random.Random(11)  # noqa: S311 (dice, no secret)
    limits = band(400, 0.5)
    missed = sum(sum(dice.random() < true_share for _ in range(400)) in limits for _ in range(1000))
    assert missed <= 5


def test_ten_requests_prove_little_and_the_band_says_so() -> None:
    assert 7 in band(10, 0.5)


@pytest.mark.parametrize(("n", "share"), [(-1, 0.5), (10, 1.1), (10, -0.1)])
def test_impossible_bands_are_refused(n: int, share: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        band(n, share)


def test_an_answer_from_a_version_without_weight_never_fits() -> None:
    assert not split({"v0.2": 399, "v0.1": 1}, {"v0.2": 100}).fits
    assert split({"v0.2": 400}, {"v0.2": 100, "v0.1": 0}).fits


def test_weights_without_a_total_are_refused() -> None:
    with pytest.raises(ValueError, match="positive total"):
        split({"v0.1": 1}, {"v0.1": 0})


def test_a_split_shows_the_same_facts_as_text_and_as_a_picture() -> None:
    result = split({"v0.1": 208, "v0.2": 192}, {"v0.1": 50, "v0.2": 50})
    assert "208 of 400 = 52.0 %" in str(result)
    assert result.svg().startswith("<svg") and "208" in result.svg() and "v0.2" in result.svg()
