"""Helm, behind one small module: Helm's own Go code as a wheel, or the helm binary in its place.

The wheel (`helm-python-sdk`, of `pip install 'meshlab[cluster]'`) needs no binary. It is a young project; whatever
meshlab wants of it stands here, so that another way to Helm has one file to change.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .errors import LabError, Missing

__all__ = ["OWNED", "Chart", "Helm", "HelmError", "Release", "open_helm", "owned_releases", "release_of"]

Values = Mapping[str, Any]
#: Label of the Secrets in which Helm keeps the releases that were made here.
OWNED = {"meshlab.io/owned": "true"}
#: Seconds that a helm binary may take beyond the timeout that it was given.
_BEYOND = 30.0


class HelmError(LabError):
    """Helm refused or failed; `why` is what it said."""


@dataclass(frozen=True)
class Chart:
    """A chart: `name` in the repository `repo` at `version`, or, with `path`, a folder or an archive."""

    name: str
    version: str = ""
    repo: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.name} {self.version} of {self.repo}"


@dataclass(frozen=True)
class Release:
    """A chart that is installed: its name and version, `status` (deployed, failed, pending-install, …)."""

    name: str
    namespace: str
    revision: int
    status: str
    chart: str
    version: str
    manifest: str = ""


def release_of(stored: Mapping[str, Any]) -> tuple[str, str]:
    """Name and namespace of the release that an object came with, by its annotations; two "" where it came with none.

    >>> release_of({"metadata": {"annotations": {"meta.helm.sh/release-name": "istiod"}}})
    ('istiod', '')
    """
    annotations = stored["metadata"].get("annotations") or {}
    name, namespace = (annotations.get(f"meta.helm.sh/release-{each}") for each in ("name", "namespace"))
    return str(name or ""), str(namespace or "")


def owned_releases(name: str) -> str:
    """Label selector of the Secrets of a release of this name, if it was made here."""
    return ",".join(["owner=helm", f"name={name}", *(f"{key}={value}" for key, value in OWNED.items())])


class Helm(Protocol):
    """What meshlab asks of Helm, in one namespace of one cluster."""

    namespace: str

    def version(self) -> str: ...

    def release(self, name: str) -> Release | None: ...

    def values(self, name: str) -> dict[str, Any]: ...

    def install(self, chart: Chart, name: str, values: Values, *, timeout: float) -> Release: ...

    def upgrade(self, chart: Chart, name: str, values: Values, *, timeout: float, own: bool = True) -> Release:
        """`own`: mark it as ours. A release of somebody else stays somebody else's."""

    def uninstall(self, name: str, *, timeout: float) -> bool: ...

    def render(self, chart: Chart, name: str, values: Values) -> str: ...


def open_helm(kubeconfig: Path, namespace: str) -> Helm:
    """The wheel if it is installed, else the binary on PATH. Raises `Missing` with the command that gets one."""
    if importlib.util.find_spec("helm_python") is not None:
        return _Wheel(kubeconfig, namespace)
    if binary := shutil.which("helm"):
        return _Binary(binary, kubeconfig, namespace)
    raise Missing(
        "neither the package helm-python-sdk nor a program helm is here",
        why="Istio is installed on a cluster by its Helm charts",
        then="pip install 'meshlab[cluster]'",
    )


class _Wheel:
    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._kubeconfig, self.namespace = kubeconfig, namespace

    def _config(self) -> Any:
        import helm_python

        return helm_python.Config(kubeconfig_path=self._kubeconfig, namespace=self.namespace)

    def version(self) -> str:
        import helm_python

        return str(helm_python.helm_sdk_version())

    def release(self, name: str) -> Release | None:
        import helm_python

        with self._config() as config:
            try:
                found = config.status(name)
            except helm_python.HelmNotFoundError:
                return None
            except helm_python.HelmError as error:
                raise _failed(f"asking for {name}", error) from error
        return self._release(found)

    def values(self, name: str) -> dict[str, Any]:
        import helm_python

        with self._config() as config:
            try:
                return dict(config.get_values(name) or {})
            except helm_python.HelmError as error:
                raise _failed(f"helm get values {name}", error) from error

    def install(self, chart: Chart, name: str, values: Values, *, timeout: float) -> Release:
        return self._put("install", chart, name, values, timeout, own=True)

    def upgrade(self, chart: Chart, name: str, values: Values, *, timeout: float, own: bool = True) -> Release:
        return self._put("upgrade", chart, name, values, timeout, own=own)

    def _put(self, verb: str, chart: Chart, name: str, values: Values, timeout: float, *, own: bool) -> Release:
        import helm_python

        options: dict[str, Any] = {"timeout": max(1, round(timeout)), "namespace": self.namespace}
        if own:
            options["labels"] = OWNED
        if chart.path is None:
            options |= {"chart_repo_url": chart.repo, "chart_version": chart.version}
        with self._config() as config:
            try:
                found = getattr(config, verb)(str(chart.path or chart.name), name, dict(values), **options)
            except helm_python.HelmError as error:
                raise _failed(f"helm {verb} {name} ({chart})", error) from error
        return self._release(found)

    def uninstall(self, name: str, *, timeout: float) -> bool:
        import helm_python

        with self._config() as config:
            try:
                config.uninstall(name, timeout=max(1, round(timeout)))
            except helm_python.HelmNotFoundError:
                return False
            except helm_python.HelmError as error:
                raise _failed(f"helm uninstall {name}", error) from error
        return True

    def render(self, chart: Chart, name: str, values: Values) -> str:
        import helm_python

        with tempfile.TemporaryDirectory() as folder:
            path = str(chart.path) if chart.path else None
            try:
                if path is None:
                    helm_python.pull(chart.name, destination=folder, repo_url=chart.repo, version=chart.version)
                    path = str(next(Path(folder).glob("*.tgz")))
                with helm_python.Chart.load(path) as loaded, self._config() as config:
                    found = config.render(loaded, dict(values), name=name, namespace=self.namespace)
            except helm_python.HelmError as error:
                raise _failed(f"rendering {chart}", error) from error
        return "\n---\n".join(text for file, text in sorted(found.items()) if not file.endswith("NOTES.txt"))

    def _release(self, found: Mapping[str, Any]) -> Release:
        chart = found.get("chart") or {}
        named = chart if isinstance(chart, Mapping) else {"name": str(chart)}
        return Release(
            name=str(found["name"]),
            namespace=str(found.get("namespace") or self.namespace),
            revision=int(found.get("revision") or 1),
            status=str(found.get("status") or "unknown"),
            chart=str(named.get("name") or found.get("chart_name") or ""),
            version=str(named.get("version") or found.get("chart_version") or ""),
            manifest=str(found.get("manifest") or ""),
        )


class _Binary:
    def __init__(self, program: str, kubeconfig: Path, namespace: str) -> None:
        self._program, self._kubeconfig, self.namespace = program, kubeconfig, namespace

    def _run(
        self, *words: str, values: Values | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        command = [self._program, *words, "--kubeconfig", str(self._kubeconfig), "--namespace", self.namespace]
        if values is not None:
            command += ["--values", "-"]
        stdin, longest = None if values is None else json.dumps(values), timeout + _BEYOND
        try:
            return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=longest)
        except subprocess.TimeoutExpired as error:
            raise _failed(f"helm {' '.join(words[:2])}", error) from error

    def version(self) -> str:
        return self._checked("version", "--short").strip()

    def _checked(self, *words: str, values: Values | None = None, timeout: float = 60.0) -> str:
        done = self._run(*words, values=values, timeout=timeout)
        if done.returncode:
            raise _failed(f"helm {' '.join(words[:2])}", done.stderr)
        return done.stdout

    def release(self, name: str) -> Release | None:
        done = self._run("status", name, "-o", "json")
        if done.returncode:
            if "not found" in done.stderr:
                return None
            raise _failed(f"helm status {name}", done.stderr)
        found = json.loads(done.stdout)
        metadata = (found.get("chart") or {}).get("metadata") or {}
        return Release(
            name=name,
            namespace=self.namespace,
            revision=int(found.get("version") or 1),
            status=str((found.get("info") or {}).get("status") or "unknown"),
            chart=str(metadata.get("name") or ""),
            version=str(metadata.get("version") or ""),
            manifest=str(found.get("manifest") or ""),
        )

    def values(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self._checked("get", "values", name, "-o", "json")) or {})

    def install(self, chart: Chart, name: str, values: Values, *, timeout: float) -> Release:
        return self._put("install", chart, name, values, timeout, own=True)

    def upgrade(self, chart: Chart, name: str, values: Values, *, timeout: float, own: bool = True) -> Release:
        return self._put("upgrade", chart, name, values, timeout, own=own)

    def _put(self, verb: str, chart: Chart, name: str, values: Values, timeout: float, *, own: bool) -> Release:
        words = [verb, name, *self._reference(chart), "--timeout", f"{max(1, round(timeout))}s"]
        if own:
            words += ["--labels", ",".join(f"{key}={value}" for key, value in OWNED.items())]
        self._checked(*words, values=values, timeout=timeout)
        found = self.release(name)
        if found is None:
            raise _failed(f"helm {verb} {name}", "it said nothing, and there is no such release")
        return found

    def uninstall(self, name: str, *, timeout: float) -> bool:
        done = self._run("uninstall", name, "--timeout", f"{max(1, round(timeout))}s", timeout=timeout)
        if done.returncode and "not found" not in done.stderr:
            raise _failed(f"helm uninstall {name}", done.stderr)
        return done.returncode == 0

    def render(self, chart: Chart, name: str, values: Values) -> str:
        return self._checked("template", name, *self._reference(chart), values=values)

    @staticmethod
    def _reference(chart: Chart) -> list[str]:
        if chart.path is not None:
            return [str(chart.path)]
        return [chart.name, "--repo", chart.repo, "--version", chart.version]


def _failed(what: str, error: Exception | str) -> HelmError:
    return HelmError(f"{what} failed", why=" ".join(str(error).split())[:600], then="meshlab preflight")
