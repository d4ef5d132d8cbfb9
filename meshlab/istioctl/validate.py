"""`istioctl validate`: verdicts on files, without a lab.

0.4.0 had no such command: it validated on the way to the server and stopped at the first bad document. The verdicts
and reasons are the same; here every document gets its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.mesh.config.documents import Document, Stage, read
from meshlab.mesh.config.goyaml import dump
from meshlab.mesh.config.today.kinds import kind_of

__all__ = ["problems", "reason", "verdicts"]


def reason(document: Document) -> str:
    """Why a document is refused, on one line; "" for one that is not."""
    return " ".join(_reason(document).splitlines())


def _reason(document: Document) -> str:
    if document.stage is Stage.VALIDATION:
        return "configuration is invalid: " + "; ".join(document.reasons)
    if document.stage is Stage.PARSE:
        return f"cannot parse proto message: {document.reasons[0]}"
    if document.other is not None and not document.is_mixer and kind_of(document.other) is None:
        return f"kind {document.kind} is not known" if document.kind else "the document has no kind"
    return ""


def verdicts(text: str) -> Iterator[tuple[Document, str]]:
    """Each document of a stream with its reason."""
    for document in read(text):
        yield document, reason(document)


def problems(obj: Mapping[str, Any]) -> list[str]:
    """Why one object is refused; [] if it is not, or is of a kind that istioctl leaves to the server."""
    for document in read(dump(obj)):
        if document.other is None and document.reasons:
            return list(document.reasons)
    return []
