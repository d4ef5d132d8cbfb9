"""Files of rules: from the text of a stream of documents to rules and verdicts, as istioctl 0.4.0 read them.

`read` gives one `Document` for each, good or bad, with the line on which it starts; istioctl's own commands stop at
the first bad one, as the original did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from meshlab.mesh.config.gotext import number_text
from meshlab.mesh.config.goyaml import Chunk, YamlError, documents, dump, load
from meshlab.mesh.config.kinds import API_VERSION, MIXER_KINDS, Kind, hyphenated, kind_of_type
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import Config, Meta
from meshlab.mesh.config.protojson import DecodeError
from meshlab.mesh.config.v1alpha2 import decode_spec, encode_spec, spec_from_fields
from meshlab.mesh.config.validate import errors_text, validate

__all__ = ["Document", "Stage", "read"]

#: Groups of today's API end so; 0.4's own is config.istio.io.
_TODAY = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "gateway.networking.k8s.io")
_TEXT_FIELDS = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "clusterName")


class Stage(Enum):
    """Where a document was refused."""

    #: It is no YAML, no object, or does not fit its kind's message.
    PARSE = "parse"
    #: It says something that makes no sense.
    VALIDATION = "validation"


@dataclass(frozen=True)
class Document:
    """One document of a stream.

    Exactly one of three: a rule that Pilot knows (`config`, with `spec` its canonical JSON), an object of another
    kind (`other`), or a refusal (`stage`, `reasons` and `message`, which is 0.4.0's whole text).
    """

    line: int
    kind: str = ""
    name: str = ""
    namespace: str = ""
    config: Config[Any] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] | None = None
    stage: Stage | None = None
    reasons: tuple[str, ...] = ()
    message: str = ""

    @property
    def valid(self) -> bool:
        return self.stage is None

    @property
    def pilot_kind(self) -> Kind | None:
        return kind_of_type(hyphenated(self.kind))

    @property
    def stored(self) -> Mapping[str, Any]:
        """The object, as far as its kind and spec go."""
        kind = self.pilot_kind
        return {"apiVersion": API_VERSION, "kind": kind.kind, "spec": self.spec} if kind else self.other or {}

    @property
    def is_mixer(self) -> bool:
        """Whether the kind is one that Mixer reads."""
        return self.kind in MIXER_KINDS


def read(text: str) -> Iterator[Document]:
    """The documents of a stream; empty ones are passed over. After JSON that does not parse, nothing follows."""
    for chunk in documents(text):
        try:
            value = load(chunk)
            obj = _object(value, from_yaml=not chunk.is_json)
        except YamlError as error:
            yield _unparsed(chunk, error)
            if chunk.is_json:
                return
            continue
        if obj is not None:
            yield _document(chunk, obj)


def _unparsed(chunk: Chunk, error: YamlError) -> Document:
    reason = str(error)
    if not chunk.is_json and not reason.startswith("error "):
        reason = f"error converting YAML to JSON: {reason}"
    return Document(
        line=error.line or chunk.line,
        stage=Stage.PARSE,
        reasons=(reason,),
        message=f"cannot parse proto message: {reason}",
    )


def _document(chunk: Chunk, obj: dict[str, Any]) -> Document:
    kind, meta = obj["kind"], obj["metadata"]
    known = {"line": chunk.line, "kind": kind, "name": meta["name"], "namespace": meta["namespace"]}
    if obj["whole"]["apiVersion"].partition("/")[0].endswith(_TODAY):
        return _todays(known, obj["whole"])
    schema = kind_of_type(hyphenated(kind))
    if schema is None:
        return Document(**known, other=obj["whole"])
    spec = obj["spec"]
    try:
        fields = decode_spec(schema.type, spec)
    except DecodeError as error:
        text = f"cannot parse proto message: YAML decoding error: {dump(spec or {})} {error}"
        return Document(**known, stage=Stage.PARSE, reasons=(str(error),), message=text)
    rule = spec_from_fields(schema.type, fields)
    if problems := validate(schema.type, rule):
        text = f"configuration is invalid: {errors_text(problems)}"
        return Document(**known, stage=Stage.VALIDATION, reasons=tuple(problems), message=text)
    config = Config(
        Meta(
            type=schema.type,
            name=meta["name"],
            namespace=meta["namespace"],
            labels=Labels(meta["labels"]),
            annotations=Labels(meta["annotations"]),
            resource_version=meta["resourceVersion"],
        ),
        rule,
    )
    return Document(**known, config=config, spec=encode_spec(schema.type, fields))


def _todays(known: dict[str, Any], whole: Mapping[str, Any]) -> Document:
    """A document of today's API, which 0.4.0 never saw: judged by today's rules."""
    from meshlab.mesh.config.today.validate import problems

    try:
        found = problems(whole)
    except KeyError:
        return Document(**known, other=whole)
    if found:
        text = f"configuration is invalid: {errors_text(found)}"
        return Document(**known, stage=Stage.VALIDATION, reasons=tuple(found), message=text)
    return Document(**known, other=whole)


def _object(value: Any, *, from_yaml: bool) -> dict[str, Any] | None:
    """kind, metadata and spec with the types that they must have; None for an empty document.

    Go matches these keys in any case of letters. In YAML a number or boolean where text is wanted becomes text;
    in JSON it is an error. Inside the spec there is no such help.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _wrong(value, "Go value of type crd.IstioKind")
    top = _folded(value, ("kind", "apiVersion", "metadata", "spec"))
    kind = _text(top.get("kind"), "kind", from_yaml)
    version = _text(top.get("apiVersion"), "apiVersion", from_yaml)
    meta, spec = top.get("metadata"), top.get("spec")
    if meta is not None and not isinstance(meta, Mapping):
        raise _wrong(meta, "Go struct field IstioKind.metadata of type v1.ObjectMeta")
    if spec is not None and not isinstance(spec, Mapping):
        raise _wrong(spec, "Go struct field IstioKind.spec of type map[string]interface {}")
    known = _folded(meta or {}, (*_TEXT_FIELDS, "labels", "annotations"))
    metadata: dict[str, Any] = {name: _text(known.get(name), f"metadata.{name}", from_yaml) for name in _TEXT_FIELDS}
    for name in ("labels", "annotations"):
        metadata[name] = _text_map(known.get(name), f"metadata.{name}", from_yaml)
    if not kind and not version and spec is None and not any(metadata.values()):
        return None
    whole = {"apiVersion": version, "kind": kind, "metadata": {k: v for k, v in metadata.items() if v}}
    if spec is not None:
        whole["spec"] = dict(spec)
    return {"kind": kind, "metadata": metadata, "spec": spec, "whole": whole}


def _folded(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    folded = {name.lower(): name for name in names}
    return {folded[key.lower()]: value[key] for key in sorted(value) if key.lower() in folded}


def _text(value: Any, where: str, from_yaml: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not from_yaml or isinstance(value, (Mapping, list)):
        raise _wrong(value, f"Go struct field IstioKind.{where} of type string")
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)


def _text_map(value: Any, where: str, from_yaml: bool) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(value, f"Go struct field IstioKind.{where} of type map[string]string")
    return {key: _text(item, f"{where}.{key}", from_yaml) for key, item in value.items()}


def _wrong(value: Any, target: str) -> YamlError:
    kind = {bool: "bool", str: "string", int: "number", float: "number", list: "array"}.get(type(value), "object")
    return YamlError(f"error unmarshaling JSON: json: cannot unmarshal {kind} into {target}")
