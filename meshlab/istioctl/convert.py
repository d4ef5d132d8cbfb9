"""`istioctl convert`: rules of v1alpha2 in, of networking.istio.io/v1 out; what changes goes to standard error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from meshlab.errors import MeshlabError
from meshlab.mesh.config.convert.stream import convert

__all__ = ["run"]


def run(names: Sequence[str], output: str, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """0, or 1 if a document was invalid and so left out. Several files are one set of rules. Raises OSError."""
    if not names:
        raise MeshlabError("filename not specified (see --filename or -f)")
    texts = [stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8") for name in names]
    starts, joined = [0], ""
    for text in texts:
        if joined:
            joined += "---\n"
        starts.append(joined.count("\n"))
        joined += text if text.endswith("\n") else f"{text}\n"
    result = convert(joined)
    for line, why in result.invalid:
        number = max(i for i, start in enumerate(starts[1:]) if start < line)
        stderr.write(f"Error: {names[number]}:{line - starts[number + 1]}: left out, it is invalid: {why}\n")
    for note in result.notes:
        stderr.write(f"{note}\n")
    if output:
        Path(output).write_text(result.text, encoding="utf-8")
    else:
        stdout.write(result.text)
    return 1 if result.invalid else 0
