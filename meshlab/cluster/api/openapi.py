"""OpenAPI as kubectl reads it.

v3: `create` and `apply` look at the paths of a group version for the operation of their kind and its
`fieldValidation` parameter; `explain` follows `components.schemas`. A document is made when it is asked for and not
kept: descriptions alone would be half a megabyte. Clients keep it by its hash.

v2 is asked for in protobuf only, by old code paths that want to name an unknown kind; an empty document does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from meshlab.cluster.api.schema import Schemas
from meshlab.cluster.api.validation import ResourceLike

__all__ = ["v2_protobuf", "v3_document", "v3_index"]

COMPONENTS = "#/components/schemas/"
#: What a method is called in `x-kubernetes-action`.
ACTIONS = {"get": "get", "list": "list", "post": "create", "put": "update", "patch": "patch", "delete": "delete"}
PATCHES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
           "application/strategic-merge-patch+json")  # fmt: skip
#: Full names of Go packages that are not under io.k8s.api.
PACKAGES = (
    ("meta.", "io.k8s.apimachinery.pkg.apis.meta."),
    ("apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."),
    ("apiregistration.", "io.k8s.kube-aggregator.pkg.apis.apiregistration."),
)
#: JSON types of what is one value on the wire.
SCALARS: dict[str, dict[str, Any]] = {
    "intstr": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "raw": {"type": "object"},
    "any": {},
}


class RegistryLike(Protocol):
    """What is served, by group version."""

    def all(self) -> Iterable[Any]: ...


def full_name(ref: str) -> str:
    """`core.v1.Pod` → `io.k8s.api.core.v1.Pod`."""
    for prefix, package in PACKAGES:
        if ref.startswith(prefix):
            return package + ref[len(prefix):]
    return "io.k8s.api." + ref


def _address(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def v3_index(registry: RegistryLike, salt: str = "") -> dict[str, Any]:
    """Where the document of each group version is. Its address holds a hash, by which clients keep it; `salt` is
    what else the documents depend on (the schemas of custom resources)."""
    kinds: dict[str, list[str]] = {}
    for resource in registry.all():
        listed = kinds.setdefault(_address(resource.group, resource.version), [])
        listed.append(f"{resource.plural}/{resource.kind}")
    paths = {}
    for address in sorted(kinds):
        text = "\n".join([salt, *sorted(kinds[address])])
        digest = hashlib.sha256(text.encode()).hexdigest()[:32].upper()
        paths[address] = {"serverRelativeURL": f"/openapi/v3/{address}?hash={digest}"}
    return {"paths": paths}


def v3_document(
    group: str,
    version: str,
    registry: RegistryLike,
    *,
    schemas: Schemas | None = None,
    custom: Mapping[str, Mapping[str, Any]] | None = None,
    describe: bool = True,
) -> dict[str, Any]:
    """The document of one group version; {} where nothing is served in it.

    `custom` holds openAPIV3Schemas by kind, for custom resources. `describe` False leaves descriptions out.
    """
    schemas = schemas or Schemas.load()
    resources = [r for r in registry.all() if (r.group, r.version) == (group, version)]
    if not resources:
        return {}
    paths: dict[str, Any] = {}
    components: dict[str, Any] = {}
    wanted: list[str] = []
    for resource in sorted(resources, key=lambda r: str(r.plural)):
        api_version = f"{group}/{version}" if group else version
        name = schemas.type_of(api_version, resource.kind)
        if name is not None:
            wanted.append(name)
            component = full_name(name)
        else:
            component = f"{'.'.join(reversed(group.split('.')))}.{version}.{resource.kind}"
            components[component] = _custom(resource, (custom or {}).get(resource.kind))
            wanted.append("meta.v1.ObjectMeta")
        paths.update(_paths(resource, component))
    wanted += ["meta.v1.Status", "meta.v1.DeleteOptions"]
    _collect(schemas, wanted, components, describe=describe)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": schemas.release},
        "paths": paths,
        "components": {"schemas": components},
    }


def v2_protobuf() -> bytes:
    """An empty OpenAPI v2 document (`swagger: "2.0"`, `info`, no paths) as protobuf."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    info = field(1, b"Kubernetes") + field(2, b"v1.37.0")
    return field(1, b"2.0") + field(2, info) + field(8, b"")


def _custom(resource: ResourceLike, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    made: dict[str, Any] = dict(schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    made["properties"] = {
        **(made.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": COMPONENTS + full_name("meta.v1.ObjectMeta")}]},
    }
    made["x-kubernetes-group-version-kind"] = [_kind(resource)]
    return made


def _kind(resource: ResourceLike) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _collect(schemas: Schemas, wanted: list[str], into: dict[str, Any], *, describe: bool) -> None:
    """Adds these types, and all that they reach."""
    queue = list(wanted)
    while queue:
        name = queue.pop()
        if full_name(name) in into or name not in schemas:
            continue
        line = schemas.line(name)
        docs = schemas.descriptions.of_type(name) if describe else {}
        made: dict[str, Any] = {"type": "object"}
        if docs.get(""):
            made["description"] = docs[""]
        properties = {}
        for field, spec in line["f"].items():
            value = _property(spec, queue)
            if docs.get(field):
                value = {"description": docs[field], **value}
            properties[field] = value
        if properties:
            made["properties"] = properties
        if line.get("q"):
            made["required"] = line["q"]
        if line.get("m"):
            made["x-kubernetes-map-type"] = line["m"]
        if line.get("g"):
            made["x-kubernetes-group-version-kind"] = [
                {"group": g, "version": v, "kind": k} for g, v, k in line["g"]
            ]
        into[full_name(name)] = made


def _property(spec: Mapping[str, Any], queue: list[str]) -> dict[str, Any]:
    """A field's schema as a real server publishes it."""
    made: dict[str, Any]
    if "r" in spec:
        queue.append(spec["r"])
        made = {"allOf": [{"$ref": COMPONENTS + full_name(spec["r"])}], "default": {}}
    elif "l" in spec:
        item = _property(spec["l"], queue)
        if "default" not in item and item.get("type") == "string":
            item["default"] = ""
        made = {"type": "array", "items": item}
    elif "p" in spec:
        made = {"type": "object", "additionalProperties": _property(spec["p"], queue)}
    else:
        made = dict(SCALARS.get(spec["t"], {"type": spec["t"]}))
    if "f" in spec:
        made["format"] = spec["f"]
    if "d" in spec:
        made["default"] = spec["d"]
    for key, letter in (("list-type", "x"), ("list-map-keys", "k"), ("map-type", "m"), ("patch-merge-key", "mk"),
                        ("patch-strategy", "s")):  # fmt: skip
        if letter in spec and not (letter == "m" and "r" in spec):
            made[f"x-kubernetes-{key}"] = spec[letter]
    return made


def _paths(resource: Any, component: str) -> dict[str, Any]:
    root = "/" + _address(resource.group, resource.version)
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{root}{scope}/{resource.plural}"
    verbs = set(getattr(resource, "verbs", ()) or ACTIONS)
    many = {"get": "list", "post": "create", "delete": "deletecollection"}
    one = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
    made = {
        collection: {m: _operation(resource, m, v, component) for m, v in many.items() if v in verbs},
        collection + "/{name}": {m: _operation(resource, m, v, component) for m, v in one.items() if v in verbs},
    }
    if resource.namespaced and "list" in verbs:
        made[f"{root}/{resource.plural}"] = {"get": _operation(resource, "get", "list", component)}
    return {path: {**value, "parameters": _place(path)} for path, value in made.items() if value}


def _place(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("namespace", "name")
        if f"{{{name}}}" in path
    ]


def _query(name: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}


def _operation(resource: Any, method: str, verb: str, component: str) -> dict[str, Any]:
    schema = {"$ref": COMPONENTS + component}
    made: dict[str, Any] = {
        "operationId": f"{verb}_{resource.group}_{resource.version}_{resource.plural}".replace(".", "_"),
        "x-kubernetes-action": "list" if verb == "list" else ACTIONS.get(method, verb),
        "x-kubernetes-group-version-kind": _kind(resource),
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
    }
    if verb in ("list", "deletecollection"):
        made["parameters"] = [_query("labelSelector"), _query("fieldSelector"), _query("limit", "integer")]
        del made["responses"]["200"]["content"]
    if verb in ("create", "update", "patch"):
        made["parameters"] = [_query("dryRun"), _query("fieldManager"), _query("fieldValidation")]
        if verb == "patch":
            made["parameters"].append(_query("force", "boolean"))
        # Where the last one stands, kubectl applies with it; of custom resources it is refused.
        patches = PATCHES[:-1] if getattr(resource, "custom", False) else PATCHES
        kinds = patches if verb == "patch" else ("application/json",)
        body = {"type": "object"} if verb == "patch" else schema
        made["requestBody"] = {"required": True, "content": {kind: {"schema": body} for kind in kinds}}
    if verb == "delete":
        made["parameters"] = [_query("dryRun"), _query("propagationPolicy")]
    return made
