"""HTTPRoutes as istiod reads them: whose time a timeout is, what is retried, what becomes of a prefix."""

from __future__ import annotations

from typing import Any

import pytest
from today_cases import obj

from meshlab.mesh.config import routing
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.today.stored import Stored
from meshlab.mesh.config.today.translate import translate

SVCB = {"name": "svcb", "port": 80}


def of_rule(**rule: Any) -> routing.Route:
    """The only route of an HTTPRoute with one rule."""
    spec = {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [SVCB], **rule}]}
    (found,) = translate(Stored.of(obj("HTTPRoute", spec)))
    (only,) = found.routes
    assert isinstance(only, routing.Route)
    return only


@pytest.mark.parametrize(("rule", "timeout", "each_try"), [
    ({"timeouts": {"request": "2s", "backendRequest": "1s"}}, "1s", None),
    ({"timeouts": {"request": "2s"}, "retry": {}}, "2s", None),
    ({"timeouts": {"request": "2s", "backendRequest": "1s"}, "retry": {"attempts": 3}}, "2s", "1s"),
    ({"timeouts": {"request": "2s", "backendRequest": "0s"}}, "2s", None),
])
def test_a_backends_time_is_that_of_each_try_where_tries_are_spoken_of(
    rule: dict[str, Any], timeout: str, each_try: str | None
) -> None:
    found = of_rule(**rule)
    assert found.timeout == Duration.parse(timeout)
    assert found.retries is not None
    assert found.retries.per_try_timeout == (Duration.parse(each_try) if each_try else None)


@pytest.mark.parametrize(("retry", "wanted"), [
    ({}, (2, ())), ({"attempts": 5}, (5, ())), ({"codes": [503, 429]}, (2, (503, 429))), ({"attempts": 0}, None),
])
def test_what_an_http_route_retries(retry: dict[str, Any], wanted: tuple[int, tuple[int, ...]] | None) -> None:
    found = of_rule(retry=retry).retries
    assert (found and (found.attempts, found.codes)) == wanted
    assert found is None or found.retry_on.endswith("retriable-status-codes") == bool(found.codes)


@pytest.mark.parametrize(("prefix", "wanted"), [("/new", "/new"), ("", "/"), ("/", "/")])
def test_a_prefix_that_becomes_nothing_leaves_a_slash(prefix: str, wanted: str) -> None:
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": prefix}
    rewritten = of_rule(filters=[{"type": "URLRewrite", "urlRewrite": {"path": path}}]).rewrite
    assert rewritten is not None and rewritten.path == wanted
    redirect = {"type": "RequestRedirect", "requestRedirect": {"path": path}}
    redirected = of_rule(backendRefs=[], filters=[redirect]).redirect
    assert redirected is not None and redirected.prefix == wanted


def test_the_backends_of_an_http_route() -> None:
    host = {"kind": "Hostname", "group": "networking.istio.io", "name": "a.com", "port": 80}
    found = of_rule(backendRefs=[{**host, "weight": 2}, {**SVCB, "weight": 0}, {**SVCB, "kind": "Pod"}])
    hosts = [(each.destination.host, each.weight) for each in found.destinations]
    assert hosts == [("a.com", 2), ("reference-not-permitted", 1)]
