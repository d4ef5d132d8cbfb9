"""What a code cell says to its reader: the words in it that another language replaces, and nothing else of it.

Code is the same in every language but for these: comments, docstrings, what is printed, claimed or waited for, titles
and the labels of a drawing. Names, commands and what the lab is told stay. The source needs no mark for them, so that
learners read plain code.
"""

from __future__ import annotations

import ast
import io
import json
import re
import string
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = ["Kind", "Saying", "in_language", "sayings"]

#: Who speaks to the reader, by which of its arguments in order.
SPEAKERS: Mapping[str, slice] = {"print": slice(None), "claim": slice(0, 3, 2), "Picture": slice(0, 1)}
#: Arguments by these names are for the reader, whoever takes them.
SAID = frozenset({"title", "alt", "otherwise", "what", "label", "seen", "text"})
_LETTER = re.compile(r"[^\W\d_]")  # of any language
_LABEL = re.compile(r'\blabel="([^"]*)"')
_BASH = re.compile(r'^(?P<echo>echo )"(?P<said>[^"$]+)"|(?:^|(?<=\s))# (?P<comment>.+)$', re.M)
#: Magics and shell escapes: no Python, and no words.
_MAGIC = re.compile(r"^[%!].*$", re.M)


class Kind(Enum):
    """How a saying is written in the source."""

    COMMENT = "comment"
    LABEL = "label"
    TEXT = "text"
    TEMPLATE = "template"
    DOCSTRING = "docstring"


@dataclass(frozen=True)
class Saying:
    """Words from character `start` to `end` of a source. A template has its values as `{expression:format}`."""

    start: int
    end: int
    text: str
    kind: Kind

    def written(self, text: str) -> str:
        """`text` as it would be written in the place of this."""
        match self.kind:
            case Kind.COMMENT | Kind.LABEL:
                return text
            case Kind.DOCSTRING:
                return f'"""{text}"""'
            case Kind.TEXT:
                return _quoted(text)
            case Kind.TEMPLATE:
                parts = []
                for literal, value, form, conversion in string.Formatter().parse(text):
                    parts.append(_quoted(literal)[1:-1].replace("{", "{{").replace("}", "}}"))
                    if value is not None:
                        parts.append(f"{{{value}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}")
                return f'f"{"".join(parts)}"'


def sayings(source: str) -> list[Saying]:
    """What the cell says, in order."""
    if source.startswith("%%"):
        return list(_in_bash(source))
    python = _MAGIC.sub(lambda found: "0".ljust(len(found[0])), source)
    lines = [0]
    for line in python.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    found = [*_comments(python, lines), *_literals(python, lines)]
    return sorted(found, key=lambda saying: saying.start)


def in_language(source: str, phrases: Mapping[str, str]) -> str:
    """The cell with the words that `phrases` (English → other) has in its place; the rest stays as it is."""
    for saying in reversed(sayings(source)):
        if saying.text in phrases:
            source = source[: saying.start] + saying.written(phrases[saying.text]) + source[saying.end :]
    return source


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _in_bash(source: str) -> Iterator[Saying]:
    for found in _BASH.finditer(source):
        part = "said" if found["echo"] else "comment"
        yield Saying(found.start(part), found.end(part), found[part], Kind.LABEL)


def _comments(source: str, lines: list[int]) -> Iterator[Saying]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.string.startswith("# "):
            start = lines[token.start[0] - 1] + token.start[1]
            yield Saying(start + 2, start + len(token.string), token.string[2:], Kind.COMMENT)


def _literals(source: str, lines: list[int]) -> Iterator[Saying]:
    def place(node: ast.expr) -> tuple[int, int]:
        """ast counts bytes of a line, and this source's lines may hold more than ASCII."""
        ends = []
        for line, column in ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)):
            whole = source[lines[line - 1] :].partition("\n")[0].encode()
            ends.append(lines[line - 1] + len(whole[:column].decode()))
        return ends[0], ends[1]

    def said(node: ast.expr) -> Iterator[Saying]:
        """The literals that an expression shows: not the keys by which it looks something up."""
        match node:
            case ast.Constant():
                if isinstance(node.value, str) and _LETTER.search(node.value):
                    yield Saying(*place(node), node.value, Kind.TEXT)
            case ast.JoinedStr():
                text = _template(node)
                if any(_LETTER.search(str(part.value)) for part in node.values if isinstance(part, ast.Constant)):
                    yield Saying(*place(node), text, Kind.TEMPLATE)
            case ast.IfExp(body=body, orelse=orelse):
                yield from (*said(body), *said(orelse))
            case ast.BinOp(left=left, right=right):
                yield from (*said(left), *said(right))
            case ast.BoolOp(values=values):
                for value in values:
                    yield from said(value)
            case ast.Call(func=ast.Attribute(value=ast.Constant() as text)):  # "…".join(…), "…".replace(…)
                yield from said(text)

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(body=[ast.Expr(value=ast.Constant(value=str(text)) as first), *_]):
                yield Saying(*place(first), text, Kind.DOCSTRING)
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        shown = [*node.args[SPEAKERS.get(name, slice(0))], *(word.value for word in node.keywords if word.arg in SAID)]
        for saying in (each for argument in shown for each in said(argument)):
            if saying.text.lstrip().startswith("digraph"):
                for label in _LABEL.finditer(source, saying.start, saying.end):
                    if _LETTER.search(label[1]):
                        yield Saying(label.start(1), label.end(1), label[1], Kind.LABEL)
            else:
                yield saying


def _template(node: ast.JoinedStr) -> str:
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value).replace("{", "{{").replace("}", "}}"))
        elif isinstance(part, ast.FormattedValue):
            conversion = f"!{chr(part.conversion)}" if part.conversion >= 0 else ""
            form = f":{_template(part.format_spec)}" if isinstance(part.format_spec, ast.JoinedStr) else ""
            parts.append(f"{{{ast.unparse(part.value)}{conversion}{form}}}")
    return "".join(parts)
