"""Durations: Go's notation, to the nanosecond."""

import pytest

from meshlab.mesh.config.durations import Duration, InvalidDuration

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("2s", 2 * SECOND),
        ("250ms", SECOND // 4),
        ("1h30m", 5400 * SECOND),
        ("1.5s", 3 * SECOND // 2),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("-3s", -3 * SECOND),
        ("+3s", 3 * SECOND),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("1ms1ns", 1_000_001),
        ("1h1h", 7200 * SECOND),
    ],
)
def test_what_go_reads_is_read(text: str, ns: int) -> None:
    assert Duration.parse(text).ns == ns


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'invalid duration ""'),
        ("3", 'missing unit in duration "3"'),
        ("1d", 'unknown unit "d" in duration "1d"'),
        ("2S", 'unknown unit "S" in duration "2S"'),
        ("s", 'invalid duration "s"'),
        (".s", 'invalid duration ".s"'),
        ("3 s", 'unknown unit " s" in duration "3 s"'),
        ("٣s", 'invalid duration "٣s"'),
        ("-", 'invalid duration "-"'),
        ("99999999h", 'invalid duration "99999999h"'),
    ],
)
def test_what_go_refuses_is_refused_in_its_words(text: str, reason: str) -> None:
    with pytest.raises(InvalidDuration, match=r"^time: ") as caught:
        Duration.parse(text)
    assert str(caught.value) == f"time: {reason}"


@pytest.mark.parametrize(
    ("ns", "go", "json"),
    [
        (0, "0s", "0.000s"),
        (45 * SECOND, "45s", "45.000s"),
        (60 * SECOND, "1m0s", "60.000s"),
        (3600 * SECOND, "1h0m0s", "3600.000s"),
        (SECOND * 3 // 2, "1.5s", "1.500s"),
        (1_000_000, "1ms", "0.001s"),
        (1_500, "1.5µs", "0.000001500s"),
        (7, "7ns", "0.000000007s"),
        (-SECOND, "-1s", "-1.000s"),
    ],
)
def test_it_is_written_as_go_and_as_protobuf_write_it(ns: int, go: str, json: str) -> None:
    assert (str(Duration(ns)), Duration(ns).json) == (go, json)
