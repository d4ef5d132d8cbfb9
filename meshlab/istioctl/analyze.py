"""`istioctl analyze`: what is probably wrong in files, in the live lab, or in both together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from meshlab.errors import LabError, MeshlabError, Rejected
from meshlab.mesh.config.analyze.messages import CODES, Level, Message
from meshlab.mesh.config.analyze.run import analyze
from meshlab.mesh.config.analyze.subject import Broken, Subject, read_file, subject
from meshlab.mesh.config.kinds import API_VERSION, PILOT_KINDS
from meshlab.mesh.config.today.kinds import kinds

__all__ = ["FOUND", "checks", "live_subjects", "run"]

#: The exit code when something is found that weighs as much as --failure-threshold: the original's.
FOUND = 79
_KUBERNETES = (
    ("v1", "namespaces"),
    ("v1", "services"),
    ("v1", "pods"),
    ("v1", "secrets"),
    ("apps/v1", "deployments"),
    ("apps/v1", "statefulsets"),
    ("apps/v1", "daemonsets"),
    ("networking.k8s.io/v1", "ingresses"),
)
_KINDS = {"namespaces": "Namespace", "services": "Service", "pods": "Pod", "deployments": "Deployment",
          "statefulsets": "StatefulSet", "daemonsets": "DaemonSet", "secrets": "Secret",
          "ingresses": "Ingress"}  # fmt: skip


def live_subjects(kubeconfig: str) -> Iterator[Subject]:
    """Everything of a lab that an analysis looks at. Raises LabError where there is none."""
    from meshlab.kube import Kube

    kube = Kube.from_kubeconfig(kubeconfig or None)
    wanted = [(version, plural, _KINDS[plural]) for version, plural in _KUBERNETES]
    wanted += [(API_VERSION, kind.plural, kind.kind) for kind in PILOT_KINDS if kind.listed]
    wanted += [(kind.api_version, kind.plural, kind.kind) for kind in kinds().values()]
    for version, plural, kind in wanted:
        try:
            items = kube.list((version, plural))["items"]
        except Rejected as error:
            if error.code == 404:
                continue  # the lab has not installed that kind
            raise
        for each in items:
            # Items of a list do not say what they are.
            yield subject({"apiVersion": version, "kind": kind, **each})


def file_subjects(names: Iterable[str], stdin: TextIO) -> Iterator[Subject | Broken]:
    """The documents of files, and of the YAML and JSON files of folders. Raises OSError, MeshlabError."""
    for name in names:
        path = Path(name)
        if name == "-":
            yield from read_file(stdin.read(), "-")
        elif path.is_dir():
            for each in sorted(path.rglob("*")):
                if each.suffix in (".yaml", ".yml", ".json"):
                    yield from read_file(each.read_text(encoding="utf-8"), str(each))
        else:
            yield from read_file(path.read_text(encoding="utf-8"), name)


def checks() -> str:
    """The list of what is looked for."""
    return "".join(f"{code}  {level.value:<8} {text}\n" for code, (level, text) in CODES.items())


def run(
    names: Sequence[str],
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
    *,
    kubeconfig: str = "",
    namespace: str = "",
    use_kube: bool = True,
    output: str = "log",
    threshold: str = "Error",
    suppress: Sequence[str] = (),
) -> int:
    """The exit code: FOUND, or 0 where nothing weighs as much as `threshold`."""
    least = _level(threshold)
    if output not in ("log", "json", "yaml"):
        raise MeshlabError(f"{output!r} is not a valid output format. It must be one of: log, json, yaml")
    subjects: list[Subject | Broken] = list(file_subjects(names, stdin))
    if use_kube:
        try:
            subjects += live_subjects(kubeconfig)
        except LabError as error:
            if not names:
                raise
            stderr.write(f"Files alone are analyzed, for no cluster answers: {error.seen}\n")
    found = [each for each in analyze(subjects, namespace=namespace) if not _suppressed(each, suppress)]
    # A file's own findings, when files were named; the lab serves to understand them.
    if names:
        found = [each for each in found if each.place]
    _write(found, output, stdout)
    what = f"namespace: {namespace}" if namespace else "files" if names and not use_kube else "all namespaces"
    if found:
        stderr.write(f"Analyzers found issues when analyzing {what}.\n")
    elif output == "log":
        stderr.write(f"\u2714 No validation issues found when analyzing {what}.\n")
    weight = list(Level)
    return FOUND if any(weight.index(each.level) >= weight.index(least) for each in found) else 0


def _level(text: str) -> Level:
    for level in Level:
        if level.value.lower() == text.lower():
            return level
    raise MeshlabError(f"{text!r} is not a level: {', '.join(level.value for level in Level)}")


def _suppressed(message: Message, patterns: Sequence[str]) -> bool:
    """`CODE=KIND NAME.NAMESPACE`, either side with `*`; `CODE` alone suppresses it everywhere."""
    from fnmatch import fnmatchcase

    origin = f"{message.kind} {message.name}.{message.namespace}"
    for each in patterns:
        code, _, where = each.partition("=")
        if code == message.code and fnmatchcase(origin, where or "*"):
            return True
    return False


def _write(found: Sequence[Message], output: str, stdout: TextIO) -> None:
    if output == "json":
        stdout.write(json.dumps([each.json() for each in found], indent="\t") + "\n")
    elif output == "yaml":
        import yaml

        stdout.write(yaml.safe_dump([each.json() for each in found], sort_keys=True))
    else:
        for each in found:
            stdout.write(f"{each}\n")
