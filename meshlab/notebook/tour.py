"""The lessons in a terminal: each text and each cell in its turn, with the same claims and the same exercises.

Between cells the reader types Enter to go on, `q` to leave, or Python of their own, which runs where the lesson's
cells run: an exercise is answered by `ex1.check(…)`, as in the browser.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.text import Text

from meshlab.errors import LabError, MeshlabError
from meshlab.phrases import tr

__all__ = ["main", "walk"]

#: Links to other lessons and pages: in a terminal nobody can follow them.
_NEAR = re.compile(r"\[([^\]]+)\]\((?![a-z]+:)[^)]+\)")


def _tell(console: Console, markdown: str) -> None:
    """A text cell: headings, lists and tables drawn."""
    console.print()
    console.print(Markdown(_NEAR.sub(r"\1", markdown), hyperlinks=False))
    console.print()


def _show(console: Console, source: str) -> None:
    """A code cell, a bar before each of its lines."""
    language = "bash" if source.startswith("%%bash") else "python"
    text = Syntax("", language, theme="ansi_dark", background_color="default").highlight(source)
    text.rstrip()
    for line in text.split("\n"):
        console.print(Text.assemble(("│ ", "dim"), line), soft_wrap=True)


def walk(notebook: Path, *, ask: Callable[[str], str] | None = None, console: Console | None = None) -> bool:
    """Go through one lesson; whether its end was reached. `ask(prompt)` gives what the reader types.

    Without `ask` nothing is waited for. The lesson's last cell runs in any case: it leaves the lab as it was found.
    Raises `LabError` for a cell that fails while nobody is there to see it.
    """
    from IPython.core.interactiveshell import InteractiveShell

    console = console or Console()
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    shell = InteractiveShell.instance()
    if not console.is_terminal:
        shell.colors = "nocolor"
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    finished = False
    try:
        for cell in cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                _tell(console, source)
                continue
            if cell is code[-1]:
                break
            _show(console, source)
            if ask is not None and not _answered(shell, ask):
                return False
            result = shell.run_cell(source, store_history=True)
            if not result.success and ask is None:
                raise LabError(f"a cell of {notebook.stem} failed", why=str(result.error_in_exec or ""))
        finished = True
    finally:
        if "lesson" in shell.user_ns:
            shell.run_cell("".join(code[-1]["source"]))
            shell.user_ns.pop("lesson", None)
    return finished


def _answered(shell: Any, ask: Callable[[str], str]) -> bool:
    """Runs what the reader types until they go on; False to leave."""
    while True:
        typed = ask(tr("Enter runs the cell, q leaves, else Python: ")).strip()
        if typed == "q":
            return False
        if not typed:
            return True
        shell.run_cell(typed, store_history=True)


def main(words: Sequence[str]) -> int:
    """`meshlab tour [NN …]`: these lessons, or all. Without a terminal nothing is waited for."""
    from meshlab.lab import connect
    from meshlab.notebook.execute import lessons
    from meshlab.notebook.languages import workbook

    books = [book for book in lessons(workbook()) if not words or book.stem[:2] in words]
    if not books:
        print(f"no lesson {' '.join(words)}\n  next:    meshlab tour 00", file=sys.stderr)
        return 2
    ask = input if sys.stdin.isatty() else None
    try:
        connect(report=lambda line: print(line, file=sys.stderr))
        return 0 if all(walk(book, ask=ask) for book in books) else 1
    except MeshlabError as error:
        print(f"meshlab: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nleft; the lab goes on\n  next:    meshlab tour, or meshlab down", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
