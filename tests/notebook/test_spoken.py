"""What of a code cell is for its reader, and how it is said in another language."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from meshlab.notebook.languages import sources
from meshlab.notebook.spoken import in_language, sayings

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
#: Words side by side that are neither a command nor a query: by the small words of English.
PROSE = re.compile(r"^[^({]*(?:^|\s)(?:a|the|of|is|are|by|per|to|and|not|no|all|requests|seconds)(?=\s|\W?$)", re.I)
#: What reads so and is for no reader: what a program has said, and keys.
NO_PROSE = {"Msgd is serving the request", "is serving the request", "no pod"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('print("so many:", n)', ["so many:"]),
        ('print(counted["by_status"], "requests,")', ["requests,"]),
        (
            'claim("it holds", a == "b", f"{a} of {b["x"]:.1f}")'.replace('"x"', "'x'"),
            ["it holds", "{a} of {b['x']:.1f}"],
        ),
        ('until(lambda: "x" in y, what="an x")', ["an x"]),
        ('LivePlot(sample, title="per second", unit="ops")', ["per second"]),
        ('print("none" if not a else f"{a}")', ["none"]),
        ('def f():\n    """What it does."""\n    return 1  # and why', ["What it does.", "and why"]),
        ('Picture("digraph { a [label=\\"one\\"]; }".replace("A", b), alt="a picture")', ["a picture"]),
        ('Picture("""digraph { a [label="one"]; }""", alt="a picture")', ["one", "a picture"]),
        ('%cd -q {place}\nlab.kubectl("get pods")', []),
        ('%%bash\necho "--- so"; kubectl get pods  # all\nsed "s/# no/yes/"', ["--- so", "all"]),
    ],
)
def test_what_is_for_the_reader_is_found_and_nothing_else(source: str, said: list[str]) -> None:
    assert [saying.text for saying in sayings(source)] == said


@pytest.mark.parametrize(
    ("source", "phrases", "other"),
    [
        (
            'print(f"{n} of {m:3}")  # so',
            {"{n} of {m:3}": "{m:3} 中的 {n}", "so": "如此"},
            'print(f"{m:3} 中的 {n}")  # 如此',
        ),
        ('claim("a " "b", x)', {"a b": '甲"乙"'}, 'claim("甲\\"乙\\"", x)'),
        ('print("一二", "three")', {"three": "三"}, 'print("一二", "三")'),
        ("print('no')", {"yes": "是"}, "print('no')"),
    ],
)
def test_words_are_replaced_and_code_stays(source: str, phrases: dict[str, str], other: str) -> None:
    assert in_language(source, phrases) == other


def test_no_prose_in_a_code_cell_is_missed() -> None:
    """Whatever reads like prose and is not found by `sayings` would stay English in every language."""
    missed = []
    for notebook in sources(NOTEBOOKS):
        if notebook.suffix != ".ipynb":
            continue
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and not source.startswith("%%"):
                rest = in_language(source, {saying.text: "" for saying in sayings(source)})
                strings = re.findall(r'"([^"\n]*)"', re.sub(r'""".*?"""', "", rest, flags=re.S))
                missed += [(cell["id"], each) for each in strings if PROSE.search(each) and each not in NO_PROSE]
    assert missed == []
