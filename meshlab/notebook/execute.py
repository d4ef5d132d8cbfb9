"""Every lesson without a browser: run by papermill, written as HTML, with an index page of how it went."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from meshlab.notebook.export import export
from meshlab.notebook.spare import Kernel, Spare
from meshlab.phrases import current, tr

__all__ = ["LESSON_DEADLINE", "Lesson", "execute", "execute_all", "index_page", "lessons", "title_of"]

#: A whole lesson's deadline, seconds. Lessons take 5 to 20 s on two cores; the rest is for a small machine.
LESSON_DEADLINE = 180.0
#: A kernel's start on one busy CPU, seconds.
KERNEL_START = 60


@dataclass(frozen=True)
class Lesson:
    """How one lesson went. `page` is its HTML, `seconds` what it took, `error` empty when all went well."""

    notebook: Path
    page: Path
    title: str
    seconds: float
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error

    def __str__(self) -> str:
        verdict = "ok" if self.passed else f"FAILED: {self.error}"
        return f"{self.notebook.stem:<28} {self.seconds:6.1f} s  {verdict}"


@dataclass
class _Deadline:
    """papermill asks for a timeout per cell; this gives each what is left of the whole lesson's."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def __call__(self, cell: Any = None) -> int:
        return max(1, int(self.began + self.seconds - time.monotonic()))


def lessons(folder: Path) -> list[Path]:
    """The lessons in `folder`, in their order: notebooks whose names begin with two digits."""
    return sorted(path for path in folder.glob("[0-9][0-9]*.ipynb") if path.is_file())


def title_of(notebook: Path) -> str:
    """The first heading of the notebook, else its name."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("# "):
                    return str(line[2:].strip())
    return notebook.stem


def execute(
    notebook: Path,
    out: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    deadline: float = LESSON_DEADLINE,
    environ: Mapping[str, str] | None = None,
) -> Lesson:
    """Run one lesson and write `out/<name>.ipynb` and `out/<name>.html`, also when a cell fails.

    `environ` is added to the kernel's environment (MESHLAB_HOME, say). Never raises for a failing lesson: the
    error is in the result, and the page shows everything up to the cell that failed.
    """
    with Spare(notebook.parent, environ) as spare:
        lesson = _run(notebook, out, spare.take(notebook), parameters, deadline)
    _show(lesson, out)
    return lesson


def _run(notebook: Path, out: Path, kernel: Kernel, parameters: Mapping[str, Any] | None, deadline: float) -> Lesson:
    """The lesson with its outputs as `out/<name>.ipynb`; `kernel` is used up."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from meshlab.notebook.saving import register

    out.mkdir(parents=True, exist_ok=True)
    run, page = out / notebook.name, out / f"{notebook.stem}.html"
    began, error = time.monotonic(), ""
    try:
        papermill.execute_notebook(
            str(notebook),
            str(run),
            parameters=dict(parameters or {}),
            cwd=str(notebook.parent),
            engine_name=register(),
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            autosave_cell_every=0,
            start_timeout=KERNEL_START,
            km=kernel,
            timeout_func=_Deadline(deadline),
            store_widget_state=True,
        )
    except PapermillExecutionError as failure:
        error = f"cell {failure.exec_count}: {failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        error = f"not finished within {deadline:g} s"
    except DeadKernelError as failure:
        error = f"the kernel died: {failure}"
    finally:
        kernel.end()
    return Lesson(notebook, page, title_of(notebook), time.monotonic() - began, error)


def _show(lesson: Lesson, out: Path) -> None:
    """The lesson that was run as a page."""
    run = out / lesson.notebook.name
    if run.exists():
        export(run, lesson.page, title=lesson.title)


def execute_all(
    notebooks: Iterable[Path],
    out: Path,
    *,
    say: Callable[[str], None] = print,
    deadline: float = LESSON_DEADLINE,
    environ: Mapping[str, str] | None = None,
) -> list[Lesson]:
    """Run the lessons one after the other (they share one lab), write `out/index.html`, say how each went.

    While one runs, the kernel of the next one boots, and the page of the one before is written.
    """
    done: list[Lesson] = []
    pages: list[Future[None]] = []
    books = list(notebooks)
    if not books:
        return done
    with Spare(books[0].parent, environ) as spare, ThreadPoolExecutor(1) as writer:
        for number, notebook in enumerate(books, 1):
            say(f"[{number}/{len(books)}] {notebook.stem} …")
            following = books[number] if number < len(books) else None
            lesson = _run(notebook, out, spare.take(notebook, following), None, deadline)
            say(f"      {lesson}")
            done.append(lesson)
            pages.append(writer.submit(_page, lesson, list(done), len(books) - number, out))
    for page in pages:
        page.result()  # raises what went wrong in writing it
    return done


def _page(lesson: Lesson, done: list[Lesson], remaining: int, out: Path) -> None:
    _show(lesson, out)
    (out / "index.html").write_text(index_page(done, remaining=remaining), encoding="utf-8")


def index_page(done: Iterable[Lesson], *, remaining: int = 0) -> str:
    """The page that lists the lessons, how long each took and whether it went well."""
    rows = []
    total = 0.0
    for lesson in done:
        total += lesson.seconds
        why = f"<b>{tr('failed')}</b><br><code>{html.escape(lesson.error[:400])}</code>"
        verdict = (
            f'<td style="color:#1a7f37">{tr("passed")}</td>'
            if lesson.passed
            else f'<td style="color:#b3261e">{why}</td>'
        )
        took = tr("{seconds:.1f} s", seconds=lesson.seconds)
        rows.append(
            f'<tr><td><a href="{html.escape(lesson.page.name, quote=True)}">'
            f"{html.escape(lesson.title)}</a></td>{verdict}<td>{took}</td></tr>"
        )
    more = f"<p>{tr('{count} more to run.', count=remaining)}</p>" if remaining else ""
    columns = "".join(f"<th>{word}</th>" for word in (tr("lesson"), tr("result"), tr("took")))
    return (
        f'<!doctype html>\n<html lang="{current()}"><head><meta charset="utf-8">'
        f"<title>{tr('meshlab: the workbook')}</title>"
        "<style>body{font:16px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #d0d7de;padding:.4rem .6rem;"
        "text-align:left;vertical-align:top}</style></head><body>\n"
        f"<h1>{tr('Governing microservices with a mesh')}</h1>\n"
        f"<p>{tr('Each page is a lesson as it ran on this machine, with its real outputs.')}</p>\n"
        f"<table><thead><tr>{columns}</tr></thead><tbody>\n"
        + "\n".join(rows)
        + f"\n</tbody></table>\n<p>{tr('{seconds:.0f} s in all.', seconds=total)}</p>{more}</body></html>\n"
    )
