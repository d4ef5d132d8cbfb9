"""Kernels that are started ahead: while one lesson runs, the next one's kernel boots.

A kernel takes a second to boot and to import what every lesson needs, and a lesson mostly waits for the mesh. So
fourteen lessons come out some ten seconds shorter; each of them has a new kernel all the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

__all__ = ["ARGUMENTS", "Kernel", "Spare"]

#: Else each start warns that TCP is not encrypted.
ARGUMENTS = ("--IPKernelApp.log_level=ERROR",)
#: What the first cells of lessons make Python import, in a namespace that is thrown away. The client of Kubernetes
#: alone takes half a second.
_MODULES = (
    "ipywidgets", "kubernetes.client", "kubernetes.config", "meshlab.cluster.daemon", "meshlab.lab",
    "meshlab.notebook.exercise", "meshlab.notebook.knobs", "meshlab.notebook.lesson", "meshlab.phrases",
)  # fmt: skip
#: What shows its answers as tables, which take as long again.
_TABLES = "lab.prometheus."


class Kernel(AsyncKernelManager):
    """A kernel that somebody else runs cells in, and that is ended with whatever they left open."""

    _used: AsyncKernelClient | None = None

    def client(self, **settings: Any) -> AsyncKernelClient:  # type: ignore[override]
        self._used = super().client(**settings)
        return self._used

    def end(self) -> None:
        """Kill it. One that is dead already is no error."""
        if self._used is not None:
            self._used.stop_channels()
        run_sync(self.shutdown_kernel)(now=True)


class Spare:
    """Kernels for lessons in `folder`, one ahead. `environ` is added to their environment. Use as a context manager."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._folder, self._environ = folder, dict(environ or {})
        self._next: Kernel | None = None

    def take(self, notebook: Path, following: Path | None = None) -> Kernel:
        """A kernel for a notebook, started before if it was `following` then; that of the `following` begins to boot.

        Whoever takes it ends it.
        """
        taken = self._next or self._start(notebook)
        self._next = self._start(following) if following is not None else None
        return taken

    def __enter__(self) -> Spare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._next is not None:
            self._next.end()
            self._next = None

    def _start(self, notebook: Path) -> Kernel:
        kernel = Kernel(kernel_name="python3")
        modules = [*_MODULES, *(["pandas"] if _TABLES in notebook.read_text(encoding="utf-8") else [])]
        arguments = [*ARGUMENTS, f"--IPKernelApp.exec_lines=exec('import {', '.join(modules)}', {{}})"]
        environ = {**os.environ, **self._environ}
        run_sync(kernel.start_kernel)(extra_arguments=arguments, cwd=str(self._folder), env=environ)
        return kernel
