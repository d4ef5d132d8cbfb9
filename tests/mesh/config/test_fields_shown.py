"""The table that says by which test real Envoys show each field of each kind is complete and true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from fields import leaves

from meshlab.mesh.config.kinds import GROUP
from meshlab.mesh.config.schema import Message, Shape, messages
from meshlab.mesh.config.today.kinds import kinds
from meshlab.mesh.config.unheeded import UNHEEDED

TESTS = Path(__file__).parents[2]
TABLE = TESTS / "mesh" / "fields.txt"
RULES = {"RouteRule": "route-rule", "EgressRule": "egress-rule", "DestinationPolicy": "destination-policy"}
#: Fixtures in which real Envoys run.
LIVE = {"cluster", "edge", "mesh", "web", "routed", "outside", "reporting"}


@dataclass
class Section:
    """Of one kind: field → test or reason, and prefixes that stand for others."""

    shown: dict[str, str] = field(default_factory=dict)
    same: dict[str, tuple[str, str]] = field(default_factory=dict)

    def said(self, name: str) -> str:
        """What is said of a field, "" where nothing is."""
        if name in self.shown:
            return self.shown[name]
        for place, (other, test) in self.same.items():
            if name.startswith(f"{place}.") and self.said(other + name.removeprefix(place)):
                return test
        return ""


def table() -> dict[tuple[str, str], Section]:
    found: dict[tuple[str, str], Section] = {}
    section = Section()
    for line in TABLE.read_text().splitlines():
        if line.startswith("  "):
            what, said = re.split(" {2,}", line.strip(), maxsplit=1)
            name, _, other = what.partition(" as ")
            if other:
                section.same[name] = (other, said)
            for each in () if other else alternatives(name):
                assert each not in section.shown, f"{each} stands twice"
                section.shown[each] = said
        elif line and not line.startswith("#"):
            kind, group = line.split()
            section = found.setdefault((group, kind), Section())
    return found


def alternatives(name: str) -> list[str]:
    """`a.{b,c}` is a.b and a.c."""
    head, brace, rest = name.partition("{")
    inside, _, tail = rest.partition("}")
    return [f"{head}{each}{tail}" for each in inside.split(",")] if brace else [name]


def fields_of(message: Message, path: str = "") -> Iterator[str]:
    """Paths of all fields of a kind of 0.4 that hold a value, as `leaves` has them of today's."""
    for each in message.fields:
        name = path + each.camel + ("[]" if each.shape is Shape.MANY else "")
        if isinstance(each.type, Message) and each.shape is not Shape.MAP:
            yield from fields_of(each.type, f"{name}.")
        else:
            yield name


def known() -> dict[tuple[str, str], list[str]]:
    found = {(GROUP, kind): list(fields_of(messages()[name])) for kind, name in RULES.items()}
    return found | {key: [".".join(path) for path in leaves(kind.spec)] for key, kind in kinds().items()}


@cache
def source(module: str) -> tuple[dict[str, str], str, dict[str, set[str]]]:
    """Of a module of tests: its tests, all else in it and in its helpers, and the fixtures that each test has."""
    (path,) = TESTS.glob(f"**/{module}.py")
    text = path.read_text()
    helpers = re.findall(r"^from tests\.mesh\.pilot\.(\w+) import", text, re.M)
    rest = [(path.parent / f"{each}.py").read_text() for each in helpers]
    found, fixtures = dict[str, str](), dict[str, set[str]]()
    lines = text.splitlines()
    for node in ast.parse(text).body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        own = "\n".join(lines[first - 1 : node.end_lineno])
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found[node.name] = own
            fixtures[node.name] = {each.arg for each in node.args.args}
        else:
            rest.append(own)
    return found, "\n".join(rest), fixtures


@pytest.mark.parametrize("key", known(), ids=".".join)
def test_each_field_is_shown_by_a_test_or_has_its_reason(key: tuple[str, str]) -> None:
    section, unheeded = table()[key], UNHEEDED.get(key, {})
    fields = known()[key]
    assert [name for name in fields if not section.said(name) and not without_effect(name, unheeded)] == []
    assert [name for name in section.shown if name not in fields] == []
    assert [name for name in section.same if not any(each.startswith(f"{name}.") for each in fields)] == []
    assert [name for name in section.shown if without_effect(name, unheeded)] == []


def without_effect(name: str, unheeded: Iterable[str]) -> bool:
    return any(name == each or name.startswith((f"{each}.", f"{each}[]")) for each in unheeded)


def shown() -> dict[str, set[str]]:
    """Test → the last names of the fields that it shows, of kinds whose schema is ours."""
    found: dict[str, set[str]] = {}
    for key, section in table().items():
        same = ((place, test) for place, (_, test) in section.same.items())
        for name, said in (*section.shown.items(), *same):
            if not said.startswith("- "):
                names = {name.rpartition(".")[2].removesuffix("[]")} if key in known() else set()
                found.setdefault(said, set()).update(names)
    return found


@pytest.mark.parametrize(("test", "names"), sorted(shown().items()), ids=sorted(shown()))
def test_a_test_of_the_table_is_there_and_has_envoys_and_speaks_of_the_field(test: str, names: set[str]) -> None:
    module, _, name = test.partition("::")
    tests, rest, fixtures = source(module)
    assert name in tests, f"{module} has no {name}: say in {TABLE.name} by what its fields are shown now"
    assert fixtures[name] & LIVE, "no Envoys"
    assert names - set(re.findall(r"\w+", tests[name] + rest)) == set()
