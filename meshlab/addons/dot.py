"""DOT to SVG: Debian's `dot` where it is, else the pure one that comes with meshlab, else the source as text.

Drawing is done by another program under a time limit: a graph of a large mesh, or a strange one, must not
hold up a page.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from meshlab.addons.svg import escape

__all__ = ["draw", "drawing_program", "quote"]


#: Defaults for what the source leaves open.
_LOOKS = ("-Gbgcolor=transparent", "-Nfontname=Helvetica", "-Efontname=Helvetica", "-Nfontsize=13",
          "-Efontsize=12")
#: Text is laid out a little larger than it is drawn: a browser without that font takes a wider one.
_SHRINK = 0.85
#: A node that is filled, with its colour.
_NODE = re.compile(r'<g id="[^"]*" class="node">(?:(?!</g>).)*?fill="(#[0-9a-f]{6})".*?</g>', re.DOTALL)


def drawing_program() -> str | None:
    """Path of the program that lays out DOT, None where there is none.

    `dot` first: it takes 13 ms and knows every attribute. `graphviz-pure` is looked for on the PATH and among
    the scripts of this interpreter's environment, which need not be on the PATH.
    """
    if found := shutil.which("dot"):
        return found
    scripts = sysconfig.get_path("scripts")
    return shutil.which("graphviz-pure") or shutil.which("graphviz-pure", path=scripts)


def draw(source: str, *, timeout: float = 5.0, program: str | None = None) -> str:
    """DOT as an `<svg>` element (for use inside HTML); where it cannot be drawn, the source in a `<pre>`.

    Whoever shows the picture says in words what it shows: the element is hidden from those who have it read to them.

    `timeout` in seconds. The `<pre>` says why: no program, too slow, or the program's own complaint.
    """
    program = program or drawing_program()
    if program is None:
        return _as_text(source, "neither dot nor graphviz-pure is installed: apt-get install graphviz")
    try:
        done = subprocess.run([program, "-Tsvg", *_LOOKS], input=source, text=True, capture_output=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return _as_text(source, f"{Path(program).name} took longer than {timeout:g} s")
    except OSError as error:
        return _as_text(source, f"{program}: {error.strerror}")
    at = done.stdout.find("<svg")
    if done.returncode != 0 or at < 0:
        return _as_text(source, done.stderr.strip() or f"{Path(program).name} ended with {done.returncode}")
    return _dressed(done.stdout[at:].strip())


def quote(text: str) -> str:
    """A DOT string, quoted.

    >>> quote('say "hi"')
    '"say \\\\"hi\\\\""'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _dressed(svg: str) -> str:
    """The picture in the colour of its surroundings, as text is: it has to be seen on dark pages too."""
    svg = re.sub(r'font-size="([\d.]+)"', lambda m: f'font-size="{float(m[1]) * _SHRINK:.2f}"', svg)
    svg = _NODE.sub(lambda node: node[0].replace("<text ", f'<text fill="{_ink(node[1])}" '), svg)
    svg = re.sub(r"<text (?!fill)", '<text fill="currentColor" ', svg)
    return svg.replace('"black"', '"currentColor"').replace("<svg ", '<svg aria-hidden="true" ', 1)


def _ink(fill: str) -> str:
    """What is read on a node of this colour: black on a light one, white on a dark one."""
    red, green, blue = (int(fill[at : at + 2], 16) for at in (1, 3, 5))
    return "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"  # brightness of a television's


def _as_text(source: str, why: str) -> str:
    return f"<pre>{escape(source)}\n// not drawn: {escape(why)}</pre>"
