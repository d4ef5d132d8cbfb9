"""/healthz, /livez and /readyz: whether the server lives and can write, as probes ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from meshlab.cluster.api.store import Store

__all__ = ["Health"]

ENDPOINTS = ("/healthz", "/livez", "/readyz")


class Health:
    """The checks, and their answers: `ok`, or one line for each with `?verbose`, or one check below the path."""

    def __init__(self, store: Store) -> None:
        # By the names that a real server has for them, since probes ask by name; etcd is its store.
        self._checks: Mapping[str, Callable[[], str]] = {
            "ping": lambda: "", "log": lambda: "", "etcd": store.fault, "informer-sync": lambda: "",
        }

    @staticmethod
    def concerns(path: str) -> bool:
        return path.rstrip("/") in ENDPOINTS or path.startswith(tuple(f"{name}/" for name in ENDPOINTS))

    def answer(self, path: str, query: Mapping[str, str]) -> web.Response:
        """For a path that `concerns` it; 500 where a check fails, as a real server answers."""
        _, endpoint, *rest = path.rstrip("/").split("/")
        asked = "/".join(rest)
        if asked and asked not in self._checks:
            return web.Response(status=404, body=b"404 page not found\n", content_type="text/plain")
        left_out = {name for text in (query.get("exclude", ""),) for name in text.split(",")}
        names = [asked] if asked else [name for name in self._checks if name not in left_out]
        faults = {name: fault for name in names if (fault := self._checks[name]())}
        if not faults and "verbose" not in query:
            return web.Response(body=b"ok", content_type="text/plain")
        said = {name: f"[+]{name} excluded: ok" for name in left_out} | {name: f"[+]{name} ok" for name in names}
        said |= {name: f"[-]{name} failed: {fault}" for name, fault in faults.items()}
        lines = [said[name] for name in ([asked] if asked else self._checks)]
        lines.append(f"{endpoint} check {'failed' if faults else 'passed'}\n")
        return web.Response(status=500 if faults else 200, text="\n".join(lines), content_type="text/plain")
