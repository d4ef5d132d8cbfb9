"""`create`, `replace`, `get` and `delete`: rules to and from the API server, with 0.4.0's outputs.

A file is read and validated whole before anything is sent. Rules that Pilot knows go first, in the file's order;
then everything else, which the server is asked whether it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO

from meshlab.errors import ManifestError, MeshlabError, Rejected, RuleError
from meshlab.istioctl.server import RuleServer
from meshlab.istioctl.tabs import table
from meshlab.mesh.config.documents import Document, Stage, read
from meshlab.mesh.config.goyaml import dump
from meshlab.mesh.config.kinds import API_VERSION, PILOT_KINDS, Kind, camel
from meshlab.mesh.config.protojson import DecodeError
from meshlab.mesh.config.today.kinds import kind_of
from meshlab.mesh.config.v1alpha2 import decode_spec, encode_spec
from meshlab.mesh.config.validate import errors_text

__all__ = ["CommandError", "create", "delete_file", "delete_names", "find_kind", "get", "replace", "supported_types"]


class CommandError(MeshlabError):
    """A command failed; the text is 0.4.0's."""


def _inputs(text: str, verb: str) -> tuple[list[Document], list[Document]]:
    """Rules of Pilot's kinds and other objects. Raises for the first bad document."""
    rules: list[Document] = []
    others: list[Document] = []
    for document in read(text):
        if document.stage is Stage.PARSE:
            raise ManifestError(document.message)
        if document.stage is Stage.VALIDATION:
            raise RuleError(document.message)
        (others if document.other is not None else rules).append(document)
    if not rules and not others:
        raise CommandError(f"nothing to {verb}")
    return rules, others


def _namespace(own: str, flag: str, default: str) -> str:
    if own and flag and own != flag:
        raise CommandError(
            f'the namespace from the provided object "{own}" does not match the namespace "{flag}". '
            f"You must pass '--namespace={own}' to perform this operation"
        )
    return flag or own or default


def _body(document: Document, namespace: str, revision: str) -> dict[str, Any]:
    """What is stored: name, labels, annotations and the spec in canonical form; nothing else of the metadata."""
    config = document.config
    if config is None:
        raise TypeError(f"{document.kind} is no rule")
    metadata: dict[str, Any] = {"name": config.meta.name, "namespace": namespace}
    if revision:
        metadata["resourceVersion"] = revision
    for key, labels in (("labels", config.meta.labels), ("annotations", config.meta.annotations)):
        if labels:
            metadata[key] = dict(labels)
    return {
        "apiVersion": API_VERSION,
        "kind": camel(config.meta.type),
        "metadata": metadata,
        "spec": dict(document.spec),
    }


def _sendable(document: Document) -> Kind:
    kind = document.pilot_kind
    if kind is None or not kind.listed:
        known = kind.type if kind else document.kind
        raise CommandError(f'unrecognized type "{known}"')
    return kind


def create(text: str, flag: str, server: RuleServer, stdout: TextIO) -> None:
    rules, others = _inputs(text, "create")
    for document in rules:
        namespace = _namespace(document.namespace, flag, server.namespace)
        kind = _sendable(document)
        revision = document.config.meta.resource_version if document.config else ""
        stored = server.create(kind.plural, namespace, _body(document, namespace, revision))
        _say(stdout, f"Created config {kind.type}/{namespace}/{document.name} at revision {_revision(stored)}")

    def send(plural: str, namespace: str, obj: dict[str, Any]) -> str:
        stored = server.create(plural, namespace, obj)
        return f"Created config {_key(obj, namespace)} at revision {_revision(stored)}"

    _each_other(others, flag, server, stdout, send)


def replace(text: str, flag: str, server: RuleServer, stdout: TextIO) -> None:
    rules, others = _inputs(text, "replace")
    for document in rules:
        namespace = _namespace(document.namespace, flag, server.namespace)
        kind = _sendable(document)
        revision = document.config.meta.resource_version if document.config else ""
        if not revision:
            current = server.get(kind.plural, namespace, document.name)
            revision = _revision(current) if current else ""
        if not revision:
            raise CommandError("revision is required")
        stored = server.replace(kind.plural, namespace, _body(document, namespace, revision))
        _say(stdout, f"Updated config {kind.type}/{namespace}/{document.name} to revision {_revision(stored)}")

    def send(plural: str, namespace: str, obj: dict[str, Any]) -> str:
        if not obj["metadata"].get("resourceVersion"):
            current = server.get(plural, namespace, obj["metadata"].get("name", ""))
            if current:
                obj["metadata"]["resourceVersion"] = _revision(current)
        stored = server.replace(plural, namespace, obj)
        return f"Updated config {_key(obj, namespace)} to revision {_revision(stored)}"

    _each_other(others, flag, server, stdout, send)


def delete_file(text: str, flag: str, server: RuleServer, stdout: TextIO) -> None:
    rules, others = _inputs(text, "delete")
    problems = []
    for document in rules:
        namespace = _namespace(document.namespace, flag, server.namespace)
        kind = _sendable(document)
        key = f"{kind.type}/{namespace}/{document.name}"
        try:
            server.delete(kind.plural, namespace, document.name)
        except Rejected as error:
            problems.append(f"cannot delete {key}: {error.seen}")
        else:
            _say(stdout, f"Deleted config: {key}")
    if problems:
        raise CommandError(errors_text(problems))

    def send(plural: str, namespace: str, obj: dict[str, Any]) -> str:
        try:
            server.delete(plural, namespace, obj["metadata"].get("name", ""))
        except Rejected as error:
            raise CommandError(f"failed to delete: {error.seen}") from error
        return f"Deleted config: {_key(obj, namespace)}"

    _each_other(others, flag, server, stdout, send)


def delete_names(typed: str, names: list[str], flag: str, server: RuleServer, stdout: TextIO) -> None:
    kind = find_kind(typed)
    problems = []
    for name in names:
        try:
            server.delete(kind.plural, flag or server.namespace, name)
        except Rejected as error:
            problems.append(f"cannot delete {name}: {error.seen}")
        else:
            _say(stdout, f"Deleted config: {typed} {name}")
    if problems:
        raise CommandError(errors_text(problems))


def get(typed: str, name: str | None, flag: str, output: str, server: RuleServer, stdout: TextIO) -> None:
    kind = find_kind(typed)
    namespace = flag or server.namespace
    if name is None:
        found = server.list(kind, namespace)
    else:
        one = server.get(kind.plural, namespace, name)
        found = [one] if one else []
    if not found:
        _say(stdout, "No resources found.")
    elif output == "short":
        rows = [("NAME", "KIND", "NAMESPACE")]
        rows += [
            (each["metadata"]["name"], f"{kind.kind}.v1alpha2.config.istio.io", each["metadata"].get("namespace", ""))
            for each in found
        ]
        stdout.write(table(rows))
    elif output == "yaml":
        for each in found:
            stdout.write(dump(_printed(kind, each)) + "---\n")
    else:
        raise CommandError(f"unknown output format {output}. Types are yaml|short")


def _printed(kind: Kind, obj: Mapping[str, Any]) -> dict[str, Any]:
    meta = obj["metadata"]
    metadata: dict[str, Any] = {"creationTimestamp": None}
    metadata |= {key: meta[key] for key in ("name", "namespace", "resourceVersion") if meta.get(key)}
    metadata |= {key: meta[key] for key in ("labels", "annotations") if meta.get(key)}
    try:
        spec = encode_spec(kind.type, decode_spec(kind.type, obj.get("spec")))
    except DecodeError as error:
        name = f"{kind.type}/{meta.get('namespace', '')}/{meta['name']}"
        raise CommandError(f"{name}: {error}", why="it was stored by other means than istioctl, unchecked") from None
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": spec}


def supported_types() -> list[str]:
    """Types that `get` and `delete` take."""
    return [kind.name for kind in PILOT_KINDS if kind.listed]


def find_kind(typed: str) -> Kind:
    """The kind of a type as typed: `routerule` or `routerules`, never with hyphens. Raises CommandError."""
    for kind in PILOT_KINDS:
        if not kind.listed:
            continue
        if typed in (kind.type, kind.plural_type) and "-" in typed:
            plain = typed.replace("-", "")
            raise CommandError(f'"{typed}" not recognized. Please use non-hyphenated resource name "{plain}"')
        if typed in (kind.name, kind.plural):
            return kind
    known = ", ".join(supported_types())
    raise CommandError(f"configuration type {typed} not found, the types are {known}")


def _each_other(
    others: list[Document],
    flag: str,
    server: RuleServer,
    stdout: TextIO,
    send: Callable[[str, str, dict[str, Any]], str],
) -> None:
    """Objects of kinds that Pilot does not know, as they are; all are tried before the errors are told."""
    if not others:
        return
    spaces = [_namespace(document.namespace, flag, server.namespace) for document in others]
    known = server.resources()
    problems = []
    for document, namespace in zip(others, spaces, strict=True):
        obj = dict(document.other or {})
        obj["apiVersion"] = obj.get("apiVersion") or API_VERSION
        obj["metadata"] = {**obj.get("metadata", {}), "namespace": namespace}
        plural = known.get(document.kind)
        if plural is None:
            hint = "; it is one of today's kinds: kubectl apply -f" if kind_of(obj) is not None else ""
            problems.append(f"kind {document.kind} is not known{hint}")
            continue
        try:
            _say(stdout, send(plural, namespace, obj))
        except (Rejected, CommandError) as error:
            problems.append(error.seen)
    if problems:
        raise CommandError(errors_text(problems))


def _key(obj: Mapping[str, Any], namespace: str) -> str:
    return f"{obj['kind']}/{namespace}/{obj['metadata'].get('name', '')}"


def _revision(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("resourceVersion", ""))


def _say(stdout: TextIO, line: str) -> None:
    # One line at a time, so that what was done is told even if what follows fails.
    stdout.write(line + "\n")
    stdout.flush()
