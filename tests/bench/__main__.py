"""Every budget of the design, measured: `python tests/bench [name …]`.

Prints a line per figure: what, median (with the spread), budget. Nothing is asserted: a shared machine's clock is
no test. Two cores are what the budgets are for; say beside a figure what it was seen on.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
BENCHES = ("up", "everything", "inforce", "path", "api", "crash", "snapshot", "reset", "lessons")


def main(names: list[str]) -> int:
    for name in names or BENCHES:
        if name not in BENCHES:
            print(f"no benchmark {name!r}: there are {', '.join(BENCHES)}", file=sys.stderr)
            return 2
        for figure in importlib.import_module(f"bench_{name}").run():
            print(figure, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
