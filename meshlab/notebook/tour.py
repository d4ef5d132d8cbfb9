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

from meshlab.errors import LabError, MeshlabError

__all__ = ["main", "plain", "walk"]

BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def plain(markdown: str, *, colour: bool = False) -> str:
    """A text cell for a terminal: headings bold, emphasis and links without their signs."""
    bold, reset = (BOLD, RESET) if colour else ("", "")
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)
    text = re.sub(r"\*\*([^*]+)\*\*", rf"{bold}\1{reset}", text)
    text = re.sub(r"(?<![\w*])\*(?! )([^*\n]+)(?<! )\*(?![\w*])", r"\1", text)
    return re.sub(r"^#+ (.+)$", rf"{bold}\1{reset}", text, flags=re.M)


def walk(
    notebook: Path,
    *,
    ask: Callable[[str], str] | None = None,
    say: Callable[[str], None] = print,
    colour: bool = False,
) -> bool:
    """Go through one lesson; whether its end was reached. `ask(prompt)` gives what the reader types.

    Without `ask` nothing is waited for. The lesson's last cell runs in any case: it leaves the lab as it was found.
    Raises `LabError` for a cell that fails while nobody is there to see it.
    """
    from IPython.core.interactiveshell import InteractiveShell

    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    shell = InteractiveShell.instance()
    shell.colors = "nocolor" if not colour else shell.colors
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    finished = False
    try:
        for cell in cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                say("\n" + plain(source, colour=colour) + "\n")
                continue
            if cell is code[-1]:
                break
            say("\n".join(f"{DIM if colour else ''}│ {line}{RESET if colour else ''}" for line in source.splitlines()))
            if ask is not None and not _answered(shell, ask):
                return False
            result = shell.run_cell(source)
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
        typed = ask("Enter runs the cell, q leaves, else Python: ").strip()
        if typed == "q":
            return False
        if not typed:
            return True
        shell.run_cell(typed)


def main(words: Sequence[str]) -> int:
    """`meshlab tour [NN …]`: these lessons, or all. Without a terminal nothing is waited for."""
    from meshlab.lab import connect
    from meshlab.notebook.execute import lessons

    folder = Path(__file__).resolve().parents[2] / "notebooks"
    books = [book for book in lessons(folder) if not words or book.stem[:2] in words]
    if not books:
        print(f"no lesson {' '.join(words)}\n  next:    meshlab tour 00", file=sys.stderr)
        return 2
    ask = input if sys.stdin.isatty() else None
    try:
        connect(report=lambda line: print(line, file=sys.stderr))
        return 0 if all(walk(book, ask=ask, colour=sys.stdout.isatty()) for book in books) else 1
    except MeshlabError as error:
        print(f"meshlab: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nleft; the lab goes on\n  next:    meshlab tour, or meshlab down", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
