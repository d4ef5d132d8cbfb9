"""Widgets as plain HTML: what a saved notebook's widget state says, without JavaScript.

nbconvert prefers a widget's live view and loads its renderer from the network; offline the page is blank.
This preprocessor replaces each view by a static picture of the state that the notebook file carries.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

__all__ = ["VIEW", "SnapshotPreprocessor", "snapshot"]

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
REFERENCE = "IPY_MODEL_"

State = Mapping[str, Any]
_PILL = (
    'style="display:inline-block;border:1px solid #8c959f;border-radius:4px;'
    "padding:2px 12px;margin:2px 4px 2px 0;"
)


def _box(direction: str) -> Callable[[State, Mapping[str, State], int], str]:
    def draw(state: State, states: Mapping[str, State], depth: int) -> str:
        inner = "".join(
            f"<div>{snapshot(str(child).removeprefix(REFERENCE), states, depth + 1)}</div>"
            for child in state.get("children") or []
        )
        layout = states.get(str(state.get("layout", "")).removeprefix(REFERENCE), {})
        frame = "".join(
            f"{name}:{html.escape(str(layout[key]), quote=True)};"
            for name, key in (("border", "border_top"), ("padding", "padding"), ("max-width", "max_width"))
            if layout.get(key)
        )
        return f'<div style="display:flex;flex-direction:{direction};gap:4px;{frame}">{inner}</div>'

    return draw


def _markup(state: State, states: Mapping[str, State], depth: int) -> str:
    return str(state.get("value", ""))


def _label(state: State, states: Mapping[str, State], depth: int) -> str:
    return f"<span>{html.escape(str(state.get('value', '')))}</span>"


def _toggle(state: State, states: Mapping[str, State], depth: int) -> str:
    on = bool(state.get("value"))
    colour = "background:#1a7f37;color:#fff" if on else "background:#f6f8fa;color:#24292f"
    return (
        f'<span {_PILL}{colour}" role="switch" aria-checked="{str(on).lower()}">'
        f"{html.escape(_name(state))}</span>"
    )


def _button(state: State, states: Mapping[str, State], depth: int) -> str:
    return f'<span {_PILL}background:#f6f8fa;color:#24292f">{html.escape(_name(state))}</span>'


def _slider(state: State, states: Mapping[str, State], depth: int) -> str:
    low, high, value = (float(state.get(key, 0)) for key in ("min", "max", "value"))
    share = 0.0 if high <= low else (value - low) / (high - low)
    return (
        f'<span>{html.escape(_name(state))} '
        f'<svg width="220" height="14" role="img"><title>{value:g} of {low:g} to {high:g}</title>'
        '<rect y="5" width="220" height="4" fill="#d0d7de"/>'
        f'<rect y="5" width="{220 * share:.0f}" height="4" fill="#1f6feb"/>'
        f'<circle cx="{7 + 206 * share:.0f}" cy="7" r="6" fill="#1f6feb"/></svg> {value:g}</span>'
    )


def _value(state: State, states: Mapping[str, State], depth: int) -> str:
    return f"<span>{html.escape(_name(state))}: <b>{html.escape(str(state.get('value', '')))}</b></span>"


def _choice(state: State, states: Mapping[str, State], depth: int) -> str:
    labels, index = state.get("_options_labels") or [], state.get("index")
    chosen = labels[index] if isinstance(index, int) and 0 <= index < len(labels) else ""
    name = f"{html.escape(_name(state))}: " if _name(state) else ""
    return f"<span>{name}<b>{html.escape(str(chosen))}</b></span>"


def _name(state: State) -> str:
    return str(state.get("description") or "")


_DRAW: Mapping[str, Callable[[State, Mapping[str, State], int], str]] = {
    "VBoxModel": _box("column"),
    "HBoxModel": _box("row"),
    "BoxModel": _box("row"),
    "HTMLModel": _markup,
    "LabelModel": _label,
    "ToggleButtonModel": _toggle,
    "CheckboxModel": _toggle,
    "ButtonModel": _button,
    "IntSliderModel": _slider,
    "FloatSliderModel": _slider,
    "BoundedIntTextModel": _value,
    "IntTextModel": _value,
    "TextModel": _value,
    "TextareaModel": _value,
    "DropdownModel": _choice,
    "RadioButtonsModel": _choice,
    "ToggleButtonsModel": _choice,
}


def snapshot(model: str, states: Mapping[str, State], depth: int = 0) -> str:
    """The widget `model` (an id in `states`) as static HTML; what is unknown is named, never left out."""
    state = states.get(model)
    if state is None:
        return "<em>(this control was not saved with the notebook: run the lesson to see it)</em>"
    if depth > 20:
        return "<em>(nested too deeply)</em>"
    name = str(state.get("_model_name", ""))
    draw = _DRAW.get(name)
    if draw is None:
        return f"<em>({html.escape(name or 'a control')}: live in the notebook only)</em>"
    return draw(state, states, depth)


class SnapshotPreprocessor(Preprocessor):  # type: ignore[misc]
    """Replaces widget views in outputs by `snapshot`s and drops the widget state."""

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        saved = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
        states = {model: entry.get("state", {}) for model, entry in saved.items()}
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if VIEW in data:
                    model = str(data[VIEW].get("model_id", ""))
                    output["data"] = NotebookNode({"text/html": snapshot(model, states)})
        nb.metadata.pop("widgets", None)
        return nb, resources
