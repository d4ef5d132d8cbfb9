"""Colours of words that are read on any background: half the text's own colour, dark in JupyterLab's light theme and
light in its dark one, and half of what the word is about."""

from __future__ import annotations

__all__ = ["FAINT", "tone"]

_HUES = {"plain": "#6e7781", "good": "#1a9f43", "bad": "#e5342f", "busy": "#b87a00"}
#: Frames of boxes.
FAINT = "color-mix(in srgb, currentColor 25%, transparent)"


def tone(name: str) -> str:
    """A CSS colour: `name` is plain, good, bad or busy."""
    return f"color-mix(in srgb, currentColor 50%, {_HUES[name]})"
