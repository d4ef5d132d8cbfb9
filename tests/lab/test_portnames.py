"""A renamed port is in force when the endpoints are known by its new name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshlab.access import Access
from meshlab.cluster import Cluster
from meshlab.portnames import renamed


@pytest.fixture(scope="module")
def access() -> Iterator[Access]:
    """Of an API server alone: no controller follows, the tests do."""
    with Cluster() as cluster:
        yield Access(cluster.kubeconfig)


def store(access: Access, kind: str, name: str, **content: Any) -> int:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}
    path = access.path("v1", kind, "default", name)
    options = {"headers": {"Content-Type": "application/apply-patch+yaml"}, "query": {"fieldManager": "test"}}
    return int(access.request("PATCH", path, body=body, **options).json()["metadata"]["resourceVersion"])


def service(access: Access, name: str, **selector: str) -> None:
    store(access, "Service", name, spec={"selector": selector, "ports": [{"name": "http", "port": 80}]})


def endpoints(access: Access, name: str, port: str) -> int:
    return store(
        access,
        "Endpoints",
        name,
        subsets=[{"addresses": [{"ip": "127.40.0.9"}], "ports": [{"name": port, "port": 8080}]}],
    )


def test_the_endpoints_are_waited_for_until_they_have_the_new_name(access: Access) -> None:
    service(access, "web", app="web")
    endpoints(access, "web", "old")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(renamed, access, "default", "web", 20.0)
        assert endpoints(access, "web", "http") == found.result()


def test_endpoints_that_keep_their_old_names_are_not_waited_for_for_ever(access: Access) -> None:
    service(access, "late", app="late")
    endpoints(access, "late", "old")
    assert renamed(access, "default", "late", 0.2) is None


def test_a_service_of_others_or_of_nobody_is_not_waited_for(access: Access) -> None:
    service(access, "outside")
    endpoints(access, "outside", "old")
    assert renamed(access, "default", "outside", 20.0) is None
    assert renamed(access, "default", "nobody", 20.0) is None
