"""A run notebook as one HTML file that needs nothing else: no network, no server, no JavaScript."""

from __future__ import annotations

import html
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from traitlets.config import Config

from meshlab.notebook.snapshot import SnapshotPreprocessor
from meshlab.phrases import current

__all__ = ["export", "export_text", "foreign"]

#: The template's own colours of numbers, operators and comments are too faint for some, and links look like text.
_STYLE = """<style>:root { --jp-mirror-editor-number-color: #006d00; --jp-mirror-editor-operator-color: #7b00c7;
--jp-mirror-editor-comment-color: #2c6363; } .jp-Notebook a { text-decoration: underline !important; }</style>
"""

#: Scripts of the template, remote ones (MathJax, RequireJS) and inline ones: nothing on the page needs them.
_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
_STYLESHEET = re.compile(r'<link\b[^>]*rel="stylesheet"[^>]*>', re.IGNORECASE)
#: Links from lesson to lesson, and to the texts beside them: on the pages they lead to pages.
_LESSON = re.compile(r'(<a\b[^>]*\bhref="[^":/#]+)\.(?:ipynb|md)(?=["#])')
#: What a browser fetches by itself, as opposed to links that a reader follows.
_FETCHED = re.compile(
    r"""(?:<(?:script|img|iframe|embed|source|video|audio|object|input)\b[^>]*?\b(?:src|data)\s*=\s*|"""
    r"""<link\b[^>]*?\bhref\s*=\s*|@import\s+(?:url\()?|\burl\(\s*)["']?((?:https?:)?//[^"'\s)>]+)""",
    re.IGNORECASE,
)


def export(notebook: Path, page: Path, *, title: str = "") -> Path:
    """Write `notebook` with its outputs to the HTML file `page` and return that."""
    return _write(nbformat.read(notebook, as_version=4), page, title or notebook.stem)


def export_text(text: Path, page: Path) -> Path:
    """Write the Markdown file `text` as the HTML file `page`, in the looks of the lessons, and return that."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text.read_text(encoding="utf-8"))])
    return _write(book, page, text.stem)


def _write(book: nbformat.NotebookNode, page: Path, title: str) -> Path:
    exporter = HTMLExporter(
        # A command's output comes in pieces that end in the middle of a line; a page shows it in one.
        config=Config(
            {
                "HTMLExporter": {
                    "preprocessors": [CoalesceStreamsPreprocessor, SnapshotPreprocessor],
                    "embed_images": True,
                }
            }
        )
    )
    exporter.exclude_input_prompt = True
    exporter.exclude_output_prompt = True
    text, _ = exporter.from_notebook_node(book, resources={"metadata": {"name": title}})
    text = _STYLESHEET.sub("", _SCRIPT.sub("", text))
    text = _LESSON.sub(r"\1.html", text)
    text = text.replace("<html>", f'<html lang="{current()}">', 1).replace("</head>", f"{_STYLE}</head>", 1)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return page


def foreign(page: str) -> list[str]:
    """Addresses elsewhere that a browser would fetch to show `page` (HTML text): an offline page has none."""
    return sorted({html.unescape(found) for found in _FETCHED.findall(page)})
