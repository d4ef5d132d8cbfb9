"""A stream of documents in, a stream of documents out: what `istioctl convert` does.

Rules become today's documents, where the first of them stood; everything else passes through as it was written.
Each note stands as a comment before the document that it is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from meshlab.mesh.config.convert.judged import judged
from meshlab.mesh.config.convert.rules import convert_rules
from meshlab.mesh.config.convert.work import Converted, Note, Weight
from meshlab.mesh.config.documents import Document, read
from meshlab.mesh.config.goyaml import documents
from meshlab.mesh.config.kinds import API_VERSION
from meshlab.mesh.config.labels import Labels

__all__ = ["Result", "convert"]

_MIXER = {
    "denier": "an AuthorizationPolicy with action DENY",
    "listchecker": "an AuthorizationPolicy",
    "memquota": "Envoy's rate limits",
    "quota": "Envoy's rate limits",
    "logentry": "Telemetry's accessLogging",
    "metric": "Telemetry's metrics",
    "prometheus": "the metrics that every sidecar has",
}


@dataclass(frozen=True)
class Result:
    """The converted stream, everything that is lost or changed, and (line, reason) of documents that are invalid."""

    text: str
    notes: tuple[Note, ...] = ()
    invalid: tuple[tuple[int, str], ...] = ()


def convert(text: str, domain: str = "cluster.local") -> Result:
    """Converts a stream of YAML or JSON documents. Invalid documents are left out and reported."""
    chunks = {chunk.line: chunk.text for chunk in documents(text)}
    found = list(read(text))
    invalid = [(each.line, "; ".join(each.reasons)) for each in found if not each.valid]
    rules = [each.config for each in found if each.config is not None]
    converted = [judged(each) for each in convert_rules(rules, _selectors(found, domain), domain)]
    written = {(each.config.meta.type, each.name): each.namespace for each in found if each.config is not None}
    parts: list[str] = []
    notes: list[Note] = []
    done = False
    for each in found:
        if each.config is not None:
            if not done:
                parts += [_written(one, written) for one in converted]
                notes += [note for one in converted for note in one.notes]
                done = True
        elif each.other is not None and each.other.get("apiVersion") == API_VERSION:
            note = Note(Weight.LOST, f"{each.kind}/{each.namespace or 'default'}/{each.name}", _mixer(each))
            notes.append(note)
            parts.append(f"# {note}\n")
        elif each.other is not None:
            parts.append(chunks.get(each.line, "").strip("\n") + "\n")
    return Result(_joined(parts), tuple(notes), tuple(invalid))


def _mixer(document: Document) -> str:
    hint = _MIXER.get(document.kind)
    return "Mixer is gone" + (f"; what comes closest is {hint}" if hint else "")


def _selectors(found: Iterable[Document], domain: str) -> dict[str, Labels]:
    """Host → selector of the Services among the documents."""
    out = {}
    for each in found:
        if each.kind == "Service" and each.other is not None:
            selector = (each.other.get("spec") or {}).get("selector") or {}
            host = f"{each.name}.{each.namespace or 'default'}.svc.{domain}"
            out[host] = Labels({str(key): str(value) for key, value in selector.items()})
    return out


def _written(converted: Converted, namespaces: dict[tuple[str, str], str]) -> str:
    """One document with its comments. It has a namespace only if a rule that it comes from has one."""
    import yaml

    lines = [f"# {note}" for note in converted.notes]
    if not converted.obj:
        return "".join(f"{line}\n" for line in lines)
    obj = dict(converted.obj)
    keys = [key.split("/", 2) for key in converted.origins]
    if (
        not any(namespaces.get((kind, name)) for kind, _, name in keys)
        and obj["metadata"].get("namespace") == "default"
    ):
        obj["metadata"] = {name: value for name, value in obj["metadata"].items() if name != "namespace"}
    if converted.origins:
        lines.insert(0, f"# from {', '.join(converted.origins)}")
    return "".join(f"{line}\n" for line in lines) + yaml.safe_dump(obj, sort_keys=False, width=110)


def _joined(parts: Iterable[str]) -> str:
    """Documents separated by `---`; what is only comments stays with the next document."""
    out, held = list[str](), ""
    for part in parts:
        held += part
        if any(line and not line.startswith("#") for line in part.splitlines()):
            out.append(held)
            held = ""
    return "---\n".join(out) + held
