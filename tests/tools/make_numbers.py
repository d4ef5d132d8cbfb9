"""Makes `meshlab/cluster/api/numbers.jsonl`: the protobuf field numbers of Kubernetes' types.

    python tests/tools/make_numbers.py FOLDER…

Each FOLDER is a checkout of kubernetes/api, kubernetes/apimachinery or kubernetes/apiextensions-apiserver of the
release that make_schemas.py names; their generated.proto files are read. A line is a type's name, a tab, and JSON:
number → field name, or number → {number → name} where Go inlines a struct that protobuf does not.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2] / "meshlab" / "cluster" / "api"
FIELD = re.compile(r"^\s*(?:optional|repeated)?\s*(map<[^>]+>|[\w.]+)\s+(\w+)\s*=\s*(\d+)\s*(?:\[.*\])?;")
PREFIXES = (
    ("k8s.io.apimachinery.pkg.apis.meta.", "meta."),
    ("k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.", "apiextensions."),
    ("k8s.io.kube_aggregator.pkg.apis.apiregistration.", "apiregistration."),
    ("k8s.io.api.", ""),
)
#: Where the field's name on the wire and in JSON differ in more than case and punctuation.
NAMES = {"validatePodDisruptionBudget": "podDisruptionBudget"}


def messages(folder: Path) -> dict[str, dict[str, tuple[str, int]]]:
    """Message → field → (type, number)."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for path in folder.rglob("generated.proto"):
        text = path.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.M)
        assert package is not None
        prefix = next((to + package[1][len(p):] for p, to in PREFIXES if package[1].startswith(p)), None)
        if prefix is None:
            continue
        for match in re.finditer(r"^message (\w+) \{\n(.*?)^\}", text, re.S | re.M):
            fields = {}
            for line in match[2].splitlines():
                if field := FIELD.match(line):
                    fields[field[2]] = (field[1], int(field[3]))
            found[f"{prefix}.{match[1]}"] = fields
    return found


def resolved(type_: str, owner: str) -> str:
    for prefix, to in PREFIXES:
        if type_.startswith((prefix, "." + prefix)):
            return to + type_.removeprefix(".")[len(prefix):]
    return owner.rpartition(".")[0] + "." + type_


def bare(name: str) -> str:
    """`x-kubernetes-list-type` in JSON is `xKubernetesListType` in protobuf, `$ref` is `ref`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def numbers(name: str, fields: dict[str, Any], known: dict[str, Any], all_: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    letters = {bare(key): key for key in known}
    for field, (type_, number) in fields.items():
        if field in known:
            made[str(number)] = field
        elif bare(field) in letters:
            made[str(number)] = letters[bare(field)]
        elif NAMES.get(field) in known:
            made[str(number)] = NAMES[field]
        elif (inlined := all_.get(resolved(type_, name))) is not None:
            below = numbers(resolved(type_, name), inlined, known, all_)
            if below:
                made[str(number)] = below
    return made


def main() -> None:
    found: dict[str, Any] = {}
    for folder in sys.argv[1:]:
        found |= messages(Path(folder))
    with (HERE / "types.jsonl").open() as types, (HERE / "numbers.jsonl").open("w") as out:
        next(types)
        count = 0
        for line in types:
            name, _, text = line.partition("\t")
            fields = json.loads(text)["f"]
            if name in found and fields:
                made = numbers(name, found[name], fields, found)
                out.write(f"{name}\t{json.dumps(made, separators=(',', ':'))}\n")
                count += 1
                missing = set(fields) - {"apiVersion", "kind"} - set(names(made))
                if missing:
                    print("without a number:", name, sorted(missing))
    print(count, "types")


def names(made: dict[str, Any]) -> list[str]:
    return [n for value in made.values() for n in (names(value) if isinstance(value, dict) else [value])]


if __name__ == "__main__":
    main()
