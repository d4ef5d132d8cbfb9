"""Anything sent to the API server: no answer is a 5xx, and whatever is stored can be listed and loaded again.

Requests are made from our own OpenAPI, then spoilt. `MESHLAB_FUZZ=20000 pytest tests/cluster/api/test_fuzz.py` sends
so many of each sort; the default keeps it within a few seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from meshlab.cluster import Cluster
from meshlab.cluster.api.api import Api
from meshlab.cluster.api.registry import Resource

#: How many of each sort, and where chance begins: a failure names the number that makes it happen again.
REQUESTS, SEED = int(os.environ.get("MESHLAB_FUZZ", "400")), int(os.environ.get("MESHLAB_FUZZ_SEED", "1"))
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
JSON = "application/json"
#: Names that mean something, or ought to mean nothing.
NAMES = ("a", "default", "kube-system", "a.b", "A", "-", "..", "a/b", "a" * 254, "é", "%00", "a:80", "")
SUBRESOURCES = (
    "status", "scale", "log", "proxy", "exec", "attach", "portforward", "binding", "eviction", "token", "finalize",
    "approval", "nothing",
)
TEXTS = (
    "", "a", "100m", "1Gi", "50%", "TCP", "80", "10.0.0.1", "Always", "2020-01-01T00:00:00Z", "{}", "a=b", "self.x > 1",
    "é\u2028", "\0", "\r\n", "\ud800", "x" * 300, "{.spec.a}", "*", "-", "a/b",
)
PATCHES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
ACCEPTS = (
    JSON, TABLE, "application/yaml", "application/vnd.kubernetes.protobuf", "text/html", "*/*", ";;", "a/b;as=Table",
)
QUERIES = (
    "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "dryRun",
    "fieldValidation", "fieldManager", "force", "pretty", "gracePeriodSeconds", "propagationPolicy", "timeout",
    "includeObject", "container", "tailLines", "command", "stdout", "path",
)
QUERY_VALUES = (
    "", "a", "a=b", "a in (b", "!a", "metadata.name=a", "=", "0", "-1", "1", "999999", "All", "Strict", "true",
    "Foreground", "Exact", "NotOlderThan", "e30=", "99999999999999999999", "\x00",
)


class Chance(random.Random):
    """Makes values, for schemas and at random."""

    def text(self) -> str:
        return self.choice(TEXTS) if self.random() < 0.7 else "".join(
            chr(self.choice((self.randrange(32, 127), self.randrange(0xD800)))) for _ in range(self.randrange(9)))

    def scalar(self) -> Any:
        return self.choice((
            None, True, False, 0, 1, -1, 2**31, 2**63, -2**63 - 1, 0.5, 1e300, self.randrange(70000), self.text(),
        ))

    def anything(self, depth: int = 3) -> Any:
        kind = self.randrange(4) if depth else 3
        if kind == 0:
            return [self.anything(depth - 1) for _ in range(self.randrange(3))]
        if kind == 1:
            return {self.text(): self.anything(depth - 1) for _ in range(self.randrange(3))}
        return self.scalar()

    def value(self, schema: dict[str, Any], schemas: dict[str, Any], depth: int = 6) -> Any:
        """Something of a schema's type, and now and then of another."""
        if self.random() < 0.04:
            return self.anything()
        for part in (schema, *schema.get("allOf", ())):
            if reference := part.get("$ref"):
                schema = schemas[reference.rpartition("/")[2]]
        kind, properties = schema.get("type"), schema.get("properties")
        if kind == "object" and depth <= 0:
            return {}
        if kind == "object" and properties:
            names = self.sample(sorted(properties), min(len(properties), self.randrange(4)))
            names += [name for name in schema.get("required", ()) if self.random() < 0.9]
            return {n: self.value(properties[n], schemas, depth - 1) for n in names if n in properties}
        if kind == "object":
            return {self.text(): self.value(schema.get("additionalProperties") or {}, schemas, depth - 1)
                    for _ in range(self.randrange(3))}
        if kind == "array":
            items = schema.get("items", {})
            return [self.value(items, schemas, depth - 1) for _ in range(self.randrange(3))] if depth > 0 else []
        if kind == "integer":
            return self.choice((0, 1, -1, 80, self.randrange(-3, 70000), 2**63 - 1))
        if kind == "boolean":
            return self.random() < 0.5
        return self.text() if kind == "string" else self.scalar()

    def patch(self, obj: Any) -> Any:
        """Operations, something like the object, or anything."""
        if self.random() < 0.4:
            paths = ("", "/", "/spec", "/metadata/name", "/metadata/labels", "/metadata/managedFields", "/spec/0",
                     "/a~2", "x", "/metadata", "/kind")
            return [{"op": self.choice(("add", "remove", "replace", "test", "move", "copy", "x")),
                     "path": self.choice(paths), "value": self.anything(), "from": self.choice(paths)}
                    for _ in range(self.randrange(3))]
        return obj if self.random() < 0.7 else self.anything()

    def body(self) -> bytes | None:
        return self.choice((
            None, self.randbytes(self.randrange(40)), json.dumps(self.anything()).encode(),
            b"k8s\0" + self.randbytes(30), b'{"kind":NaN}', b'{"a":1e999}',
            b'{"kind":' + b"[" * 2000, b"a: &a [*a]\n", b'{"a":1}{"b":2}', b"\xff\xfe{}",
        ))


class Sender:
    """Requests as they are, malformed ones included: no client in between mends them."""

    def __init__(self, cluster: Cluster) -> None:
        self.host, _, port = cluster.server.removeprefix("https://").partition(":")
        self.port, self.token = int(port), cluster.token
        self.context = ssl.create_default_context(cafile=str(cluster.settings.pki / "ca.pem"))
        self.connection: http.client.HTTPSConnection | None = None

    def __call__(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        try:
            return self._send(method, path, body, sent)
        except ConnectionError:
            self.close()  # the server ended the connection with the answer before: this must do on a new one
            return self._send(method, path, body, sent)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.host, self.port, timeout=60, context=self.context)
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "home"


@pytest.fixture(scope="module")
def fuzzed(home: Path) -> Iterator[Cluster]:
    with Cluster(home) as running:
        yield running


@pytest.fixture(scope="module")
def sender(fuzzed: Cluster) -> Iterator[Sender]:
    made = Sender(fuzzed)
    yield made
    made.close()


@pytest.fixture(scope="module")
def resources(fuzzed: Cluster) -> list[Resource]:
    return [r for r in fuzzed.call(lambda api: list(api.registry.all())) if "create" in r.verbs]


@pytest.fixture(scope="module")
def schemas(sender: Sender, resources: list[Resource]) -> dict[str, Any]:
    """All component schemas of our OpenAPI, by (apiVersion, kind)."""
    found: dict[str, Any] = {}
    for version in sorted({r.api_version for r in resources}):
        group = f"apis/{version}" if "/" in version else f"api/{version}"
        status, body = sender("GET", f"/openapi/v3/{group}")
        assert status == 200
        found |= json.loads(body)["components"]["schemas"]
    return found


def base_path(resource: Resource) -> str:
    root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
    return f"{root}/namespaces/default/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"


def check(status: int, body: bytes, what: Any) -> None:
    # 503: nothing behind a proxy; 504: a revision that is still to come, in a real server's words.
    assert status < 500 or status in (503, 504), (status, body[:500], what)
    if status >= 400 and body.startswith(b"{"):
        told = json.loads(body)
        assert told["kind"] == "Status" and told["code"] == status, (told, what)


def made(chance: Chance, resource: Resource, schemas: dict[str, Any], name: str | None) -> Any:
    """An object of a kind, more or less."""
    obj = chance.value(schemas[name] if name else {}, schemas)
    if not isinstance(obj, dict):
        return obj
    own = {"name": chance.choice(("a", "b", "c", "default"))}
    given = obj.get("metadata")
    obj |= {"kind": resource.kind, "apiVersion": resource.api_version,
            "metadata": {**given, **own} if isinstance(given, dict) else own}
    # Who is asked before each write and does not answer would make each later write wait for its time limit.
    obj.pop("webhooks", None)
    return obj


def test_objects_of_every_kind(sender: Sender, resources: list[Resource], schemas: dict[str, Any]) -> None:
    kinds = {(g["group"], g["version"], g["kind"]): n for n, s in schemas.items()
             for g in s.get("x-kubernetes-group-version-kind", ())}
    for number in range(SEED, SEED + REQUESTS):
        chance = Chance(number)
        resource = chance.choice(resources)
        name = kinds.get((resource.group, resource.version, resource.kind))
        obj, media = made(chance, resource, schemas, name), chance.choice(PATCHES)
        body, patch = json.dumps(obj).encode(), chance.patch(made(chance, resource, schemas, name))
        target = f"{base_path(resource)}/{chance.choice('abc')}"
        query = chance.choice(("", "?fieldManager=x", "?fieldManager=x&force=true", "?dryRun=All"))
        check(*sender("POST", base_path(resource), body, {"Content-Type": JSON}), (number, obj))
        check(*sender("PUT", target, body, {"Content-Type": JSON}), (number, obj))
        check(*sender("PATCH", target + query, json.dumps(patch).encode(), {"Content-Type": media}),
              (number, media, patch))
        if "list" in resource.verbs:
            shown(sender, resource, number)
        if chance.random() < 0.25:
            check(*sender("DELETE", target), (number, target))


def shown(sender: Sender, resource: Resource, number: int = 0) -> None:
    """Everything of a kind, as a list and as a table."""
    for accept in (JSON, TABLE):
        status, body = sender("GET", base_path(resource), None, {"Accept": accept})
        assert status == 200, (number, resource.plural, body[:500])
        json.loads(body)


def test_paths_methods_queries_and_bodies(sender: Sender, resources: list[Resource]) -> None:
    for number in range(SEED, SEED + REQUESTS):
        chance = Chance(number)
        path = base_path(chance.choice(resources))
        if chance.random() < 0.5:
            path = path.replace("/default/", f"/{quote(chance.choice(NAMES))}/")
        for _ in range(chance.randrange(4)):
            path += "/" + quote(chance.choice(NAMES + SUBRESOURCES), safe=chance.choice(("", "/:%")))
        path = chance.choice((path, path, path, path.replace("v1", "v9"), path + "/", path[1:], "//" + path,
                              path.replace("/api", "/watch", 1), "/openapi" + path, path[:chance.randrange(1, 30)]))
        if names := chance.sample(QUERIES, chance.randrange(4)):
            path += "?" + "&".join(f"{name}={quote(chance.choice(QUERY_VALUES))}" for name in names)
        method = chance.choice(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"))
        if method == "DELETE" and path.partition("?")[0].rstrip("/").endswith(("/namespaces", "/namespaces/default")):
            continue  # the other requests need it
        headers = {"Content-Type": chance.choice((JSON, "application/yaml", "application/vnd.kubernetes.protobuf",
                                                  "text/plain", "", *PATCHES)), "Accept": chance.choice(ACCEPTS)}
        body = chance.body()
        check(*sender(method, path or "/", body, headers), (number, method, path, body, headers))


def test_all_of_it_is_still_shown(sender: Sender, resources: list[Resource]) -> None:
    for resource in resources:
        if "list" in resource.verbs:
            shown(sender, resource)


def test_all_of_it_is_loaded_again(fuzzed: Cluster, home: Path, sender: Sender, tmp_path: Path) -> None:
    """The database of a server that was fuzzed opens, and holds the same."""
    import sqlite3

    def counts(api: Api) -> list[tuple[str, int]]:
        return [(r.plural, len(api.list(r)[0])) for r in api.registry.all() if "list" in r.verbs]

    before = fuzzed.call(counts)
    copy = tmp_path / "home"
    copy.mkdir()
    with sqlite3.connect(home / "lab.db") as source, sqlite3.connect(copy / "lab.db") as target:
        source.backup(target)
    source.close()
    target.close()
    with Cluster(copy) as again:
        assert again.call(counts) == before
