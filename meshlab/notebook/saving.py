"""papermill's engine, but that the notebook is saved at its end, whatever that is, and not before and after each cell.

A lesson has some thirty cells and a hundred kilobytes of pictures: written out sixty times that is a quarter of a
second's work, in which the next cell waits.
"""

from __future__ import annotations

from typing import Any

from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

__all__ = ["ENGINE", "register"]

#: The engine's name for papermill.
ENGINE = "meshlab-saves-once"


class _SavesOnce(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **settings: Any) -> Any:
        path, nb_man.output_path = nb_man.output_path, None
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **settings)
        finally:
            nb_man.output_path = path  # papermill saves once more, also after an error


def register() -> str:
    """Makes the engine known to papermill, which is harmless to repeat; returns its name."""
    papermill_engines.register(ENGINE, _SavesOnce)
    return ENGINE
