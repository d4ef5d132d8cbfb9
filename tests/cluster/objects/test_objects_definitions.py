"""What is refused in definitions of custom resources, with a real server's paths."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.cluster.api.validate_definition import definition

Schema = dict[str, Any]


def refused(*schemas: Schema | None) -> list[str]:
    versions: list[dict[str, Any]] = []
    for schema in schemas:
        version = {"name": f"v{len(versions) + 1}", "served": True, "storage": not versions}
        versions.append(version | ({"schema": {"openAPIV3Schema": schema}} if schema else {}))
    names = {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions,
            "conversion": {"strategy": "None"}}  # fmt: skip
    causes = definition({"metadata": {"name": "foos.example.com"}, "spec": spec}, None)
    return [f"{cause.field}: {cause.message}" for cause in causes]


def of(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


WHOLE = "spec.validation.openAPIV3Schema"


@pytest.mark.parametrize(("schemas", "expected"), [
    ([of(a={"type": "string", "default": "x"})], []),
    ([of(a={"type": "string", "default": 1})], [
        f'{WHOLE}.properties[a].default: Invalid value: "integer": {WHOLE}.properties[a].default in body must be of '
        'type string: "integer"']),
    ([of(a={"type": "array", "items": {"type": "integer", "minimum": 1, "default": 0}})], [
        f"{WHOLE}.properties[a].items.default: Invalid value: 0: {WHOLE}.properties[a].items.default in body should be "
        "greater than or equal to 1"]),
    ([{"type": "string"}], [f'{WHOLE}.type: Invalid value: "string": must be object at the root']),
    ([of(a={"type": "string"}), of(a={})], [
        "spec.versions[1].schema.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified "
        "object fields"]),
    ([None], ["spec.versions[0].schema.openAPIV3Schema: Required value"]),
], ids=["a default that fits", "a default of another type", "a default out of range", "no object", "one version",
        "no schema"])  # fmt: skip
def test_schemas_are_refused_where_a_real_server_says(schemas: list[Schema | None], expected: list[str]) -> None:
    assert refused(*schemas) == expected
