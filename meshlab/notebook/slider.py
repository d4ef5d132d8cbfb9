"""A slider that everybody can use: the browser's own, with a name.

Those of ipywidgets have no name for a screen reader: their handle is an element of its own, which `description` does
not label. And JupyterLab takes the arrows up and down for itself, unless an attribute says that it should not.
"""

from __future__ import annotations

import anywidget
import traitlets

__all__ = ["Slider"]

_ESM = """
function render({ model, el }) {
    el.classList.add("meshlab-slider");
    const [label, name, input, shown] = ["label", "span", "input", "span"].map(tag => document.createElement(tag));
    const step = model.get("step"), digits = Math.max(0, -Math.floor(Math.log10(step)));
    const say = () => { shown.textContent = Number(input.value).toFixed(digits); };
    const place = () => { input.value = model.get("value"); say(); };
    name.textContent = model.get("description");
    Object.assign(input, { type: "range", min: model.get("min"), max: model.get("max"), step });
    input.setAttribute("data-lm-suppress-shortcuts", "true");
    input.addEventListener("input", say);
    input.addEventListener("change", () => { model.set("value", Number(input.value)); model.save_changes(); });
    model.on("change:value", place);
    place();
    shown.setAttribute("aria-hidden", "true");  // the slider says its value itself
    label.append(name, input);
    el.append(label, shown);
    return () => model.off("change:value", place);
}
export default { render };
"""
_CSS = """
.meshlab-slider { display: flex; align-items: center; gap: 8px; margin: 2px; color: var(--jp-ui-font-color1, inherit); }
.meshlab-slider label { display: flex; align-items: center; gap: 8px; }
.meshlab-slider label span { width: 80px; text-align: right; }
.meshlab-slider input { width: 180px; accent-color: var(--jp-brand-color1, #1f6feb); }
"""


class Slider(anywidget.AnyWidget):  # type: ignore[misc]
    """A number from `min` to `max` in steps, named by `description`. `value` changes when it is let go of."""

    _esm, _css = _ESM, _CSS
    value = traitlets.CFloat(0.0).tag(sync=True)
    min = traitlets.CFloat(0.0).tag(sync=True)
    max = traitlets.CFloat(100.0).tag(sync=True)
    step = traitlets.CFloat(1.0).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)
