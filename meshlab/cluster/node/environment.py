"""The environment and command line of a container, from its manifest.

Pure functions: what they need of ConfigMaps, Secrets and the pod comes in as plain dicts.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meshlab.cluster.api.quantity import parse
from meshlab.cluster.node.images import Command, Image

__all__ = ["BadReference", "beside", "command_line", "expand", "field_value", "interpreted", "resource_value",
           "variables"]  # fmt: skip

#: Looks up data of a ConfigMap or Secret: (kind, name) → mapping of key to text, or None where there is none.
Lookup = Callable[[str, str], Mapping[str, str] | None]

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][\w.-]*)\))")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z")


class BadReference(Exception):
    """A variable or volume names something that is not there; the text is what `kubectl describe pod` shows."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known, `$$` a literal dollar, everything else as it stands.

    >>> expand("$(A)-$(B)-$$(A)", {"A": "1"})
    '1-$(B)-$(A)'
    """
    def one(found: re.Match[str]) -> str:
        if found.group(1) == "$":
            return "$"
        return known.get(found.group(2), found.group(0))

    return _REFERENCE.sub(one, text)


def field_value(pod: Mapping[str, Any], path: str) -> str:
    """The value of a downward API field such as `metadata.labels['app']`; BadReference for one that is not offered."""
    if keyed := re.match(r"metadata\.(labels|annotations)\['([^']+)'\]\Z", path):
        return str((pod["metadata"].get(keyed.group(1)) or {}).get(keyed.group(2), ""))
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    plain: dict[str, Callable[[], Any]] = {
        "metadata.name": lambda: pod["metadata"]["name"],
        "metadata.namespace": lambda: pod["metadata"]["namespace"],
        "metadata.uid": lambda: pod["metadata"]["uid"],
        "metadata.labels": lambda: _lines(pod["metadata"].get("labels")),
        "metadata.annotations": lambda: _lines(pod["metadata"].get("annotations")),
        "spec.nodeName": lambda: spec.get("nodeName", ""),
        "spec.serviceAccountName": lambda: spec.get("serviceAccountName") or "default",
        "status.hostIP": lambda: status.get("hostIP", ""),
        "status.podIP": lambda: status.get("podIP", ""),
        "status.podIPs": lambda: status.get("podIP", ""),
    }
    if path not in plain:
        raise BadReference(f"unsupported fieldPath: {path}")
    return str(plain[path]() or "")


def _lines(values: Mapping[str, str] | None) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted((values or {}).items()))


def _from_source(source: Mapping[str, Any], pod: Mapping[str, Any], lookup: Lookup, container: str) -> str | None:
    if ref := source.get("fieldRef"):
        return field_value(pod, str(ref["fieldPath"]))
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if ref := source.get(field):
            data = lookup(kind, str(ref["name"]))
            if data is not None and ref["key"] in data:
                return data[ref["key"]]
            if ref.get("optional"):
                return None
            namespace = pod["metadata"]["namespace"]
            if data is None:
                raise BadReference(f'{kind.lower()} "{ref["name"]}" not found')
            raise BadReference(f"couldn't find key {ref['key']} in {kind} {namespace}/{ref['name']}")
    if ref := source.get("resourceFieldRef"):
        return resource_value(ref, pod, container)
    raise BadReference("environment variable has an unknown source")


def resource_value(ref: Mapping[str, Any], pod: Mapping[str, Any], container: str) -> str:
    """A container's request or limit as a number of `divisor`s, rounded up. Without a limit it is the machine's."""
    section, _, name = str(ref["resource"]).partition(".")
    wanted = ref.get("containerName") or container
    for candidate in [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]:
        if candidate["name"] == wanted:
            given = ((candidate.get("resources") or {}).get(section) or {}).get(name)
            if given is None:
                given = _machine(name) if section == "limits" else 0
            divisor = parse(ref.get("divisor") or 1)[0] or 1
            return str(math.ceil(parse(given)[0] / divisor))
    raise BadReference(f"container {wanted} not found")


def _machine(name: str) -> int:
    """What a container without a limit may use."""
    if name == "cpu":
        return os.cpu_count() or 1
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if name == "memory" else 0


def variables(container: Mapping[str, Any], pod: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    """envFrom and env of a container, in order, with `$(NAME)` of earlier ones replaced. Raises BadReference."""
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix") or ""
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if ref := source.get(field):
                data = lookup(kind, str(ref["name"]))
                if data is None and not ref.get("optional"):
                    raise BadReference(f'{kind.lower()} "{ref["name"]}" not found')
                result.update({prefix + key: value for key, value in (data or {}).items() if _NAME.match(key)})
    for variable in container.get("env") or []:
        if source := variable.get("valueFrom"):
            value = _from_source(source, pod, lookup, str(container["name"]))
            if value is not None:
                result[variable["name"]] = value
        else:
            result[variable["name"]] = expand(str(variable.get("value") or ""), result)
    return result


def command_line(container: Mapping[str, Any], image: Image, *, python: str, services: Path,
                 local: Callable[[str], str], known: Mapping[str, str]) -> list[str]:
    """The argument vector of a container.

    `known` are its variables for `$(NAME)`; `local` makes its paths those of this machine. An image that honours
    `command` and is given none runs what the image itself would: python, or a shell.
    """
    def made(values: Sequence[str] | None) -> list[str]:
        return [local(expand(str(value), known)) for value in values or []]

    command, args = made(container.get("command")), made(container.get("args"))
    program = [part.format(python=python, services=services) for part in image.program]
    if image.command is Command.REPLACED or (program and command[:1] in ([], [image.name])):
        return program + args
    line = command + args if command or args else ["python3" if image.name == "python" else "sh"]
    return interpreted(line, python)


def beside(argv: Sequence[str], image: Image | None, python: str) -> list[str]:
    """A command that somebody runs in a container, with one that only its image has made one of this machine."""
    if image is None or not image.beside or argv[0] != image.beside[0]:
        return list(argv)
    return [*(part.format(python=python) for part in image.beside[1:]), *argv[1:]]


def interpreted(line: list[str], python: str) -> list[str]:
    """A command line with the interpreter's many names (python3.12, /usr/local/bin/python) made this one.

    >>> interpreted(["python3.12", "-V"], "/venv/bin/python")
    ['/venv/bin/python', '-V']
    """
    if line and re.fullmatch(r"(/usr(/local)?/bin/)?python(3(\.\d+)?)?", line[0]):
        return [python, *line[1:]]
    return line
