"""Types of the built-in kinds, read from a data file one type at a time.

Everything that has to know Kubernetes' types (strategic merge, server-side apply, decoding, OpenAPI) asks for a
`Node`. A node is one place in an object; a struct's node leads to its fields' nodes. `types.jsonl` holds one Go
type a line (made by tests/tools/make_schemas.py); the line is read when somebody first asks for that type, so a
server that was asked about pods only holds only what pods reach. What the types and fields are for is elsewhere
(`descriptions`): only `kubectl explain` and column headings need it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlab.cluster.api.descriptions import Descriptions

__all__ = ["Node", "Schemas"]

HERE = Path(__file__).parent
#: Go's names of values that are no struct.
GO_NAMES = {
    "boolean": "bool",
    "number": "float64",
    "intstr": "intstr.IntOrString",
    "quantity": "resource.Quantity",
    "time": "v1.Time",
    "microtime": "v1.MicroTime",
    "raw": "map[string]interface {}",
    "any": "v1.JSON",
}


class Node:
    """What one place of an object may hold.

    `kind` is one of object (a struct: `fields`), map and list (`item`), string, integer, number, boolean,
    intstr, quantity, time, microtime, raw (any object), any (any JSON) and deduced (what the value looks like).
    Structs of built-in kinds have a name (`ref`) and find their fields when asked; those of custom resources are
    handed theirs (`fields`), and `item` where other keys may stand among them.
    """

    __slots__ = ("_fields", "_go_type", "_schemas", "always", "default", "format", "item", "keeps_zero", "kind",
                 "list_type", "map_keys", "map_type", "merge_key", "one_of", "ref", "strategies")  # fmt: skip

    def __init__(
        self, schemas: Schemas | None, spec: Mapping[str, Any], fields: Mapping[str, Node] | None = None
    ) -> None:
        self._schemas = schemas
        self._fields = fields
        #: Name of the Go type of a struct: `core.v1.ServicePort`.
        self.ref: str = spec.get("r", "")
        self.item: Node | None = None
        if self.ref or fields is not None:
            self.kind = "object"
        elif "l" in spec:
            self.kind, self.item = "list", Node(schemas, spec["l"])
        elif "p" in spec:
            self.kind, self.item = "map", Node(schemas, spec["p"])
        else:
            self.kind = spec.get("t", "any")
        self.format: str = spec.get("f", "")
        #: atomic (the default), set or map.
        self.list_type: str = spec.get("x", "atomic" if self.kind == "list" else "")
        self.map_keys: tuple[str, ...] = tuple(spec.get("k", ()))
        #: atomic or granular (the default).
        self.map_type: str = spec.get("m", "")
        self.merge_key: str = spec.get("mk", "")
        self.strategies: tuple[str, ...] = tuple(spec["s"].split(",")) if "s" in spec else ()
        self.default: Any = spec.get("d")
        #: Go type of a JSON value that is one type or another (JSONSchemaPropsOrBool …).
        self.one_of: str = spec.get("o", "")
        #: An empty string, 0, false, [] or {} is a value here and not the absence of one.
        self.keeps_zero = "n" in spec
        #: A struct that is written as {} where it is absent.
        self.always = "a" in spec
        self._go_type: str = spec.get("g", "")

    def __repr__(self) -> str:
        return f"Node({self.ref or self.kind})"

    @property
    def fields(self) -> Mapping[str, Node]:
        """Fields of a struct by their JSON name; empty for everything else."""
        if self._fields is not None:
            return self._fields
        return self._schemas.fields(self.ref) if self.ref and self._schemas else {}

    @property
    def alternative(self) -> Node | None:
        """The struct that may stand where `one_of` says: all of those types are of schemas."""
        return self._schemas.node("apiextensions.v1.JSONSchemaProps") if self.one_of and self._schemas else None

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that a struct's Go type does not mark optional."""
        return self._schemas.required(self.ref) if self.ref and self._schemas else ()

    @property
    def go_name(self) -> str:
        """How Go's decoder names the struct: `ServicePort`."""
        return self.ref.rpartition(".")[2]

    @property
    def go_type(self) -> str:
        """The Go type that decoding errors name: `[]v1.Container`, `v1.PullPolicy`, `int32`."""
        if self._go_type:
            return self._go_type
        if self.ref:
            return ".".join(self.ref.split(".")[-2:])
        if self.item:
            return ("[]" if self.kind == "list" else "map[string]") + self.item.go_type
        return self.format if self.kind == "integer" else GO_NAMES.get(self.kind, self.kind)

    def child(self, key: str) -> Node | None:
        """The node of a struct's field or of a map's values; None where the type has no such field."""
        if self.kind == "object":
            return self.fields.get(key)
        return self.item if self.kind == "map" else None

    def sibling(self, api_version: str, kind: str) -> Node | None:
        """The node of a kind in another version, out of the same types."""
        return self._schemas.for_kind(api_version, kind) if self._schemas else None

    @property
    def is_atomic(self) -> bool:
        """Whether server-side apply owns this value as one piece."""
        if self.kind == "list":
            return self.list_type not in ("set", "map")
        if self.kind in ("map", "object"):
            return self.map_type == "atomic"
        return self.kind not in ("raw", "any")


class Schemas:
    """Reads types on demand. One instance is shared by a server; it is safe to make more."""

    def __init__(self, folder: Path = HERE) -> None:
        self._folder = folder
        first, self._places = self._index()
        head = json.loads(first)
        self._descriptions: Descriptions | None = None
        self._types: dict[str, tuple[dict[str, Node], tuple[str, ...], Any]] = {}
        self.release: str = head["release"]
        self._kinds: dict[str, str] = head["kinds"]

    @classmethod
    def load(cls) -> Schemas:
        """The types that ship with the package. Reads the index (2 ms); types follow when asked for."""
        return cls()

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def names(self) -> Iterator[str]:
        """Names of all types, sorted."""
        return iter(self._places)

    def type_of(self, api_version: str, kind: str) -> str | None:
        """Name of a kind's Go type: ("v1", "Pod") → "core.v1.Pod"; None for kinds without one."""
        return self._kinds.get(f"{api_version}/{kind}")

    def for_kind(self, api_version: str, kind: str) -> Node | None:
        """The node of a whole object; None for a kind that is not built in (a custom resource)."""
        name = self.type_of(api_version, kind)
        return Node(self, {"r": name}) if name else None

    def node(self, name: str) -> Node:
        """The node of a Go type by its name."""
        if name not in self._places:
            raise KeyError(name)
        return Node(self, {"r": name})

    def line(self, name: str) -> dict[str, Any]:
        """A type as the file has it: "f" fields, "q" required, "m" map type, "g" kinds."""
        offset, length = self._places[name]
        with (self._folder / "types.jsonl").open("rb") as file:
            file.seek(offset)
            line: dict[str, Any] = json.loads(file.read(length))
        return line

    @property
    def descriptions(self) -> Descriptions:
        """What types and fields are for, in words."""
        if self._descriptions is None:
            from meshlab.cluster.api.descriptions import Descriptions

            self._descriptions = Descriptions()
        return self._descriptions

    def _index(self) -> tuple[bytes, dict[str, tuple[int, int]]]:
        """The first line where it is no type's, and where each type's JSON stands."""
        head, places, place = b"", {}, 0
        with (self._folder / "types.jsonl").open("rb") as file:
            for line in file:
                name = line[: line.find(b"\t")].decode() if line[:1] != b"{" else ""
                if name:
                    places[name] = (place + len(name) + 1, len(line) - len(name) - 1)
                else:
                    head = line
                place += len(line)
        return head, places

    def fields(self, name: str) -> dict[str, Node]:
        return self._type(name)[0]

    def required(self, name: str) -> tuple[str, ...]:
        return self._type(name)[1]

    def _type(self, name: str) -> tuple[dict[str, Node], tuple[str, ...], Any]:
        found = self._types.get(name)
        if found is None:
            line = self.line(name)
            fields = {key: Node(self, spec) for key, spec in line["f"].items()}
            found = self._types[name] = (fields, tuple(line.get("q", ())), line.get("m"))
        return found
