"""What 0.4.0 took and today's API refuses: left out of the converted documents, by name."""

from __future__ import annotations

from dataclasses import replace

from meshlab.mesh.config.convert.work import Converted, Note, Weight
from meshlab.mesh.config.today.validate import problems

__all__ = ["judged"]


def judged(converted: Converted) -> Converted:
    """The same, without what would be refused when it is stored; of a VirtualService as little as possible."""
    if not converted.obj or not (why := problems(converted.obj)):
        return converted
    rules = {key.rpartition("/")[2]: key for key in converted.origins}
    spec = converted.obj["spec"]
    blocks = spec.get("http") or ()
    refused = [problems({**converted.obj, "spec": {**spec, "http": [block]}}) for block in blocks]
    kept = [block for block, reasons in zip(blocks, refused, strict=True) if not reasons]
    rest = {**converted.obj, "spec": {**spec, "http": kept}}
    if any(block.get("name") in rules for block in kept) and not problems(rest):
        lost = [
            Note(Weight.LOST, rules.get(block.get("name"), converted.origins[0]), _text(reasons))
            for block, reasons in zip(blocks, refused, strict=True)
            if reasons
        ]
        return replace(converted, obj=rest, notes=(*converted.notes, *lost))
    return replace(converted, obj={}, notes=tuple(Note(Weight.LOST, key, _text(why)) for key in converted.origins))


def _text(reasons: list[str]) -> str:
    return f"today's API refuses it: {'; '.join(reasons)}"
