"""YAML and JSON as go-yaml of 2017 read and wrote them."""

from typing import Any

import pytest

from meshlab.mesh.config.gotext import go_quote, json_number, number_text, round32
from meshlab.mesh.config.goyaml import MAX_DEPTH, YamlError, documents, dump, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("Off", False),
        ("NO", False),
        ("nO", "nO"),
        ("~", None),
        ("", None),
        ("010", 8),
        ("08", 8.0),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2017-12-18", "2017-12-18"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        ("+7", 7),
        ("'7'", "7"),
        ("!!str 7", "7"),
        ("!mine x", "x"),
        ("18446744073709551615", 2**64 - 1),
        ("99999999999999999999", 1e20),
        ("1e999", "1e999"),
    ],
)
def test_scalars_mean_what_they_meant_to_go(text: str, value: Any) -> None:
    loaded = load(f"k: {text}\n")["k"]
    assert (loaded, type(loaded)) == (value, type(value))


def test_keys_become_text_and_the_last_of_equal_keys_wins() -> None:
    assert load("1: a\ntrue: b\n2.50: c\nk: 1\nk: 2\n") == {"1": "a", "true": "b", "2.5": "c", "k": 2}


def test_aliases_and_merges_are_followed() -> None:
    assert load("a: &x {p: 1}\nb: *x\nc:\n  <<: *x\n  q: 2\n") == {"a": {"p": 1}, "b": {"p": 1}, "c": {"p": 1, "q": 2}}


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("a: b: c\n", "yaml: mapping values are not allowed in this context", 1),
        ("a: 1\nb: c: d\n", "yaml: line 1: mapping values are not allowed in this context", 2),
        ("a: *nobody\n", "yaml: unknown anchor 'nobody' referenced", 1),
        ("a: &x [*x]\n", "yaml: anchor 'x' value contains itself", 1),
        ("? [a]\n: 1\n", "yaml: invalid map key: ['a']", 1),
        ("a: !!int x\n", "yaml: cannot decode !!str `x` as a !!int", 1),
        ("<<: 3\n", "yaml: map merge requires map or sequence of maps as the value", 1),
    ],
)
def test_what_does_not_parse_says_why_and_where(text: str, reason: str, line: int) -> None:
    with pytest.raises(YamlError) as caught:
        load(text)
    assert (str(caught.value), caught.value.line) == (reason, line)


def test_a_wildcard_must_be_quoted() -> None:
    with pytest.raises(YamlError, match="expected alphabetic"):
        load("service: *.foo.com\n")
    assert load("service: '*.foo.com'\n") == {"service": "*.foo.com"}


def test_documents_made_to_exhaust_memory_are_refused() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x]\n"
    for number in range(1, 9):
        bomb += f"a{number}: &a{number} [{','.join([f'*a{number - 1}'] * 8)}]\n"
    with pytest.raises(YamlError, match="excessive aliasing"):
        load(bomb)
    for opening in ("[", "{a: ", "- "):
        with pytest.raises(YamlError, match="exceeded max depth"):
            load(opening * 100_000)
    (chunk,) = documents('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1))
    with pytest.raises(YamlError, match="exceeded max depth"):
        load(chunk)


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("", []),
        ("a: 1\n", [1]),
        ("---\na: 1\n---\nb: 2\n", [1, 4]),
        ("a: 1\n---   \nb: 2", [1, 3]),
        ("a: 1\n--- # not a separator\nb: 2\n", [1]),
        ("a: 1\r\n---\r\nb: 2\r\n", [1, 3]),
        ('{"a":1}{"b":\n2}', [1, 1]),
    ],
)
def test_streams_are_split_where_kubernetes_splits_them(text: str, starts: list[int]) -> None:
    assert [chunk.line for chunk in documents(text)] == starts


def test_of_a_chunk_only_the_first_document_is_read() -> None:
    (chunk,) = documents("a: 1\n--- # more\nb: 2\n")
    assert load(chunk) == {"a": 1}


@pytest.mark.parametrize("text", ['{"a": 1,}', '{"a": NaN}', '{"a": 1e999}', '{"a"', "{'a': 1}"])
def test_json_is_strict(text: str) -> None:
    (chunk,) = documents(text)
    with pytest.raises(YamlError, match=r"^json: "):
        load(chunk)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (50.0, "50"),
        (80.5, "80.5"),
        (33.3, "33.3"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (999999.0, "999999"),
        (1000000.0, "1e+06"),
        (16777217.0, "1.6777216e+07"),
        (2147483647.0, "2.1474836e+09"),
        (1e39, ".inf"),
    ],
)
def test_floats_are_written_with_32_bits(number: float, text: str) -> None:
    assert number_text(number) == text


def test_large_numbers_lose_digits_on_their_way_into_a_rule() -> None:
    assert round32(2**31) == 2147483600
    assert round32(10**400) == float("inf")
    assert (json_number(50.0), json_number(80.5), json_number(1e21)) == ("50", "80.5", "1e+21")


def test_yaml_is_written_in_gos_form() -> None:
    value = {"b": [{"z": None, "a": True}], "a10": "yes", "a9": "1", "text": "x\ny\n", "star": "*", "no": {}, "f": 1.50}
    assert dump(value) == (
        'a9: "1"\na10: "yes"\nb:\n- a: true\n  z: null\nf: 1.5\n"no": {}\nstar: \'*\'\ntext: |\n  x\n  y\n'
    )


def test_quoting_shows_what_cannot_be_seen() -> None:
    assert go_quote('a"\n\x01é\u200b') == '"a\\"\\n\\x01é\\u200b"'
