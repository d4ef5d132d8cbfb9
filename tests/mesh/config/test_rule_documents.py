"""Streams of documents: what is a rule, what is something else, what is refused and where."""

import pytest

from meshlab.mesh.config.documents import Document, Stage, read
from meshlab.mesh.config.kinds import camel, hyphenated

GOOD = "kind: RouteRule\nmetadata: {name: r}\nspec: {destination: {name: svcb}}\n"
BAD = "kind: RouteRule\nmetadata: {name: bad}\nspec: {destination: {name: SVCB}}\n"


def one(text: str) -> Document:
    (document,) = read(text)
    return document


def test_empty_documents_are_passed_over() -> None:
    assert list(read("")) == []
    assert list(read("---\n---\n# nothing\n---\n{}\n---\nmetadata: {}\n")) == []


def test_every_document_of_a_stream_is_judged() -> None:
    documents = list(read(f"{GOOD}---\n{BAD}---\nx: [\n---\nkind: metric\nmetadata: {{name: m}}\n"))
    assert [(each.line, each.stage) for each in documents] == [
        (1, None),
        (5, Stage.VALIDATION),
        (10, Stage.PARSE),
        (11, None),
    ]
    assert documents[0].config and documents[0].config.key == "route-rule//r"
    assert documents[3].is_mixer and documents[3].other


@pytest.mark.parametrize("kind", ["RouteRule", "route-rule"])
def test_the_kind_alone_chooses_the_schema(kind: str) -> None:
    assert one(f"apiVersion: whatever/v9\n{GOOD.replace('RouteRule', kind)}").config is not None


@pytest.mark.parametrize("kind", ["routerule", "Routerule", "Route-Rule", "Pod", "VirtualService", "List", ""])
def test_other_kinds_are_handed_on_as_they_are(kind: str) -> None:
    document = one(f"kind: {kind}\nmetadata: {{name: x}}\nspec: {{any: [1, thing]}}\nstatus: {{}}\n")
    assert document.config is None
    assert document.other == {
        "apiVersion": "",
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": {"any": [1, "thing"]},
    }


def test_keys_outside_the_spec_are_found_in_any_case_and_scalars_become_text() -> None:
    metadata = "{NAME: 7, labels: {a: 1.50, b: yes}}"
    document = one(f"KIND: RouteRule\nMetadata: {metadata}\nSpec: {{destination: {{name: svcb}}}}\n")
    assert document.config
    assert (document.name, document.config.meta.labels) == ("7", {"a": "1.5", "b": "true"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BAD, 'configuration is invalid: 1 error occurred:\n\n* name "SVCB" must be a valid label'),
        (
            "kind: RouteRule\nspec:\n  destination: x\n",
            "cannot parse proto message: YAML decoding error: destination: x\n"
            " json: cannot unmarshal string into Go value of type map[string]json.RawMessage",
        ),
        (
            "kind: RouteRule\n",
            "configuration is invalid: 1 error occurred:\n\n* route rule must have a destination service",
        ),
        (
            "a\n",
            "cannot parse proto message: error unmarshaling JSON: json: cannot unmarshal string into Go value of type "
            "crd.IstioKind",
        ),
        (
            "kind: RouteRule\nspec: []\n",
            "cannot parse proto message: error unmarshaling JSON: json: cannot unmarshal array into Go struct field "
            "IstioKind.spec of type map[string]interface {}",
        ),
        (
            "kind: a\n b: c\n",
            "cannot parse proto message: error converting YAML to JSON: yaml: line 1: mapping values are not allowed "
            "in this context",
        ),
        (
            '{"kind": 7}',
            "cannot parse proto message: error unmarshaling JSON: json: cannot unmarshal number into Go struct field "
            "IstioKind.kind of type string",
        ),
    ],
)
def test_refusals_are_in_the_words_of_the_original(text: str, message: str) -> None:
    assert one(text).message == message


def test_streams_of_json_are_read_up_to_the_first_that_does_not_parse() -> None:
    good = '{"kind":"RouteRule","metadata":{"name":"r"},"spec":{"destination":{"name":"svcb"}}}'
    documents = list(read(f"{good}\n{good} {{]"))
    assert [each.stage for each in documents] == [None, None, Stage.PARSE]


@pytest.mark.parametrize(
    ("kind", "type_name"),
    [
        ("RouteRule", "route-rule"),
        ("DestinationPolicy", "destination-policy"),
        ("HTTPAPISpecBinding", "http-api-spec-binding"),
        ("EndUserAuthenticationPolicySpec", "end-user-authentication-policy-spec"),
    ],
)
def test_kinds_and_types_translate_both_ways(kind: str, type_name: str) -> None:
    assert (hyphenated(kind), camel(type_name)) == (type_name, kind)
