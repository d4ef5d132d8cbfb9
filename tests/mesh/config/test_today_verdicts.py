"""Verdicts on documents of today's API: here, and by the definitions on an API server."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from today_cases import BY_RULES, BY_SCHEMA, VALID, obj

from meshlab.cluster.api import structural
from meshlab.cluster.api.cel import Rules, definition_causes, has_rules
from meshlab.cluster.api.validate_definition import definition
from meshlab.mesh.config.documents import read
from meshlab.mesh.config.today.crds import manifest
from meshlab.mesh.config.today.kinds import kinds
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate
from meshlab.mesh.config.today.validate import problems

MANIFEST = Path(__file__).parents[3] / "manifests" / "istio-today" / "crds.yaml"


@pytest.mark.parametrize(("kind", "spec", "why"), [*BY_SCHEMA, *BY_RULES])
def test_what_makes_no_sense_is_refused_with_its_reason(kind: str, spec: dict[str, Any], why: str) -> None:
    found = problems(obj(kind, spec))
    assert any(why in each for each in found), found


@pytest.mark.parametrize(("kind", "spec"), VALID)
def test_what_makes_sense_is_taken_and_has_a_meaning(kind: str, spec: dict[str, Any]) -> None:
    assert problems(obj(kind, spec)) == []
    if kind != "GatewayClass":
        assert translate(Stored.of(obj(kind, spec))) is not None


def test_unknown_fields_and_versions_are_named() -> None:
    assert problems(obj("PeerAuthentication", {"mtsl": {}})) == ['spec: unknown field "mtsl"']
    (why,) = problems(obj("PeerAuthentication", {}, "security.istio.io/v2"))
    assert why == "PeerAuthentication of security.istio.io is not served as v2: v1, v1beta1 are"


def test_a_kind_of_another_group_is_nobodys_business_here() -> None:
    with pytest.raises(KeyError):
        problems(obj("VirtualService", {}, "example.com/v1"))


def test_files_hold_documents_of_both_generations() -> None:
    text = yaml.safe_dump_all([
        obj("VirtualService", {"hosts": ["a"]}),
        {"apiVersion": "config.istio.io/v1alpha2", "kind": "Gateway", "metadata": {"name": "g"}, "spec": {}},
        obj("Gateway", {"servers": []}),
    ])  # fmt: skip
    first, second, third = read(text)
    assert "http, tcp or tls must be provided" in first.message
    assert "gateway must have at least one server" in second.message
    assert "spec.servers: must have at least 1 items" in third.message


# Definitions


@cache
def definitions() -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = yaml.load_all(MANIFEST.read_text(encoding="utf-8"), loader)
    return [each for each in documents if each["kind"] == "CustomResourceDefinition"]


def test_the_manifest_is_what_the_schemas_say() -> None:
    assert MANIFEST.read_text(encoding="utf-8") == manifest(), "run python -m meshlab.mesh.config.today.crds"


def test_an_api_server_takes_every_definition() -> None:
    for each in definitions():
        spec = {**each["spec"], "conversion": {"strategy": "None"}}  # as the server fills it in
        assert definition({**each, "spec": spec}, None) == []
    assert len(definitions()) == len(kinds())


def stored_schema(kind: str, group: str) -> dict[str, Any]:
    (found,) = (d for d in definitions() if d["spec"]["names"]["kind"] == kind and d["spec"]["group"] == group)
    schema: dict[str, Any] = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def rules(kind: str, group: str) -> Rules:
    return Rules(stored_schema(kind, group))


def on_write(document: dict[str, Any]) -> list[str]:
    """What an API server with the definition says to a document; [] if it stores it."""
    kind, group = document["kind"], document["apiVersion"].partition("/")[0]
    schema = stored_schema(kind, group)
    found = [str(each.message) for each in structural.validate(document, schema)]
    if not found and has_rules(schema):
        found = [str(each.message) for each in rules(kind, group).check(document, None)]
    return found


@pytest.mark.parametrize(("kind", "spec", "why"), BY_SCHEMA)
def test_what_the_schema_refuses_is_refused_on_write(kind: str, spec: dict[str, Any], why: str) -> None:
    assert on_write(obj(kind, spec)) != []


@pytest.mark.parametrize(("kind", "spec"), VALID)
def test_what_is_valid_is_stored_whole(kind: str, spec: dict[str, Any]) -> None:
    document = obj(kind, spec)
    schema = stored_schema(kind, document["apiVersion"].partition("/")[0])
    assert structural.prune(document, schema) == (document, [])
    assert on_write(document) == []


def test_every_expression_compiles() -> None:
    for each in definitions():
        assert definition_causes({}, each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) == []
