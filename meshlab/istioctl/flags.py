"""Command-line flags as Go's pflag reads them, because commands written for the original must run as they are.

argparse differs where it matters: `--debug=false` and `--debug` are both right there but `--debug false` is not,
flags may stand before or after the command, and `-ndefault`, `-n default` and `-n=default` mean the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Flag", "Parsed", "UsageError", "parse", "usage"]


class FlagKind(Enum):
    TEXT = "string"
    INT = "int"
    BOOL = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: its long name, perhaps a letter, and its default, whose type is the flag's."""

    name: str
    default: str | int | bool
    help: str
    letter: str = ""
    #: May be given several times; the values are kept in order.
    repeated: bool = False

    @property
    def kind(self) -> FlagKind:
        if isinstance(self.default, bool):
            return FlagKind.BOOL
        return FlagKind.INT if isinstance(self.default, int) else FlagKind.TEXT


class UsageError(ValueError):
    """The command line is wrong; the text is pflag's."""


@dataclass
class Parsed:
    """Flags by name and the other arguments in order."""

    values: dict[str, str | int | bool]
    args: list[str] = field(default_factory=list)
    #: All values of repeated flags.
    lists: dict[str, list[str]] = field(default_factory=dict)
    help: bool = False

    def text(self, name: str) -> str:
        return str(self.values[name])

    def number(self, name: str) -> int:
        return int(self.values[name])

    def on(self, name: str) -> bool:
        return bool(self.values[name])


def parse(argv: Sequence[str], flags: Iterable[Flag]) -> Parsed:
    """Raises UsageError. After `--` everything is an argument."""
    known = {flag.name: flag for flag in flags}
    letters = {flag.letter: flag for flag in known.values() if flag.letter}
    out = Parsed({flag.name: flag.default for flag in known.values()})
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            out.args += words
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name == "help" and name not in known:
                out.help = True
            elif name not in known:
                raise UsageError(f"unknown flag: --{name}")
            else:
                _set(out, known[name], f"--{name}", value if equals else None, words)
        elif word.startswith("-") and len(word) > 1:
            _letters(out, letters, word[1:], words)
        else:
            out.args.append(word)
    return out


def _letters(out: Parsed, letters: dict[str, Flag], run: str, words: list[str]) -> None:
    """`-abc`: flags without a value, the last perhaps with one."""
    whole = run
    while run:
        letter, run = run[0], run[1:]
        flag = letters.get(letter)
        if flag is None:
            if letter == "h":
                out.help = True
                continue
            raise UsageError(f"unknown shorthand flag: {letter!r} in -{whole}")
        if run.startswith("="):
            _set(out, flag, f"-{letter}", run[1:], words)
            return
        if flag.kind is FlagKind.BOOL:
            _set(out, flag, f"-{letter}", None, words)
        elif run:
            _set(out, flag, f"-{letter}", run, words)
            return
        else:
            _set(out, flag, f"-{letter}", None, words, letter=f"{letter!r} in -{whole}")


def _set(out: Parsed, flag: Flag, shown: str, value: str | None, words: list[str], *, letter: str = "") -> None:
    if value is None:
        if flag.kind is FlagKind.BOOL:
            value = "true"
        elif words:
            value = words.pop(0)
        else:
            raise UsageError(f"flag needs an argument: {letter or shown}")
    if flag.kind is FlagKind.BOOL:
        if value not in ("1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"):
            raise _invalid(flag, value, "strconv.ParseBool")
        out.values[flag.name] = value in ("1", "t", "T", "true", "TRUE", "True")
    elif flag.kind is FlagKind.INT:
        try:
            out.values[flag.name] = int(value, 0)
        except ValueError:
            raise _invalid(flag, value, "strconv.ParseInt") from None
    else:
        out.values[flag.name] = value
        if flag.repeated:
            out.lists.setdefault(flag.name, []).append(value)


def _invalid(flag: Flag, value: str, parser: str) -> UsageError:
    shown = f"-{flag.letter}, --{flag.name}" if flag.letter else f"--{flag.name}"
    return UsageError(f'invalid argument "{value}" for "{shown}" flag: {parser}: parsing "{value}": invalid syntax')


def usage(flags: Iterable[Flag]) -> str:
    """The table of flags."""
    rows = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        left = f"  -{flag.letter}, " if flag.letter else "      "
        left += f"--{flag.name} {flag.kind.value}".rstrip()
        shown = f'"{flag.default}"' if isinstance(flag.default, str) else str(flag.default).lower()
        default = "" if flag.default in ("", False, 0) else f" (default {shown})"
        rows.append((left, flag.help + default))
    width = max((len(left) for left, _ in rows), default=0)
    return "\n".join(f"{left:<{width}}   {text}".rstrip() for left, text in rows)
