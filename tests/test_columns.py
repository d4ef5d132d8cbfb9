"""Texts beside each other and in lines, in characters of one column and of two."""

from __future__ import annotations

import pytest

from meshlab.columns import columns, wrapped


@pytest.mark.parametrize(
    ("text", "width"), [("svcb", 4), ("路由", 4), ("svcb 的路由", 11), ("，", 2), ("", 0), ("✓ × –", 5)]
)
def test_a_character_of_chinese_is_as_wide_as_two_letters(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("no route fits", 8, ["no route", "fits"]),
        ("没有路由符合", 8, ["没有路由", "符合"]),
        ("没有路由。", 8, ["没有路由。"]),  # a full stop begins no line
        ("服务 svcb 的端口", 10, ["服务 svcb", "的端口"]),
        ("outbound|80||svcb", 8, ["outbound", "|80||svc", "b"]),
        ("", 8, []),
    ],
)
def test_lines_break_at_spaces_and_between_characters_of_chinese(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width) == lines
