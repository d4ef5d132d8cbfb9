"""What a matched route does to a request, as fields of an Envoy route.

Everything is in the route itself (faults and CORS as its own configuration of filters that every listener
has), so that a rule changes a route table and never a listener: a listener that changes drains its connections.
"""

from __future__ import annotations

import re
from typing import Any

from meshlab.mesh.config import routing
from meshlab.mesh.config.durations import Duration
from meshlab.mesh.config.traffic import Balancer
from meshlab.mesh.pilot.encode import Fields, duration, pack
from meshlab.mesh.pilot.match import string_match

__all__ = [
    "CORS", "FAULT", "cors", "direct", "fault", "filters", "hash_policy", "header_changes", "redirect", "retries",
    "rewrite", "share", "timeout",
]

#: Names of the filters in every HTTP filter chain.
CORS = "envoy.filters.http.cors"
FAULT = "envoy.filters.http.fault"
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
#: How often another endpoint is looked for before one that was tried already is taken again: istiod's number.
OTHER_HOSTS = 5
_CODES = {301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT",
          308: "PERMANENT_REDIRECT"}
#: Ports that a scheme means where none is said.
_SCHEMES = {"http": 80, "https": 443}
_GRPC = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
         "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
         "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")


def filters(route: routing.Route) -> Fields:
    """Configuration of the listener's filters for this route alone: `typed_per_filter_config`."""
    found: Fields = {}
    if route.cors is not None:
        found[CORS] = pack("CorsPolicy", cors(route.cors))
    injected = fault(route.fault) if route.fault is not None else None
    if injected:
        found[FAULT] = pack("HTTPFault", injected)
    return found


def fault(wanted: routing.Fault) -> Fields:
    """An `HTTPFault`."""
    found: Fields = {}
    if wanted.delay is not None:
        found["delay"] = {"fixed_delay": duration(wanted.delay.fixed.ns), "percentage": share(wanted.delay.millionths)}
    if wanted.abort is not None:
        abort: Fields = {"percentage": share(wanted.abort.millionths)}
        if wanted.abort.grpc_status:
            abort["grpc_status"] = _grpc(wanted.abort.grpc_status)
        else:
            abort["http_status"] = wanted.abort.http_status
        found["abort"] = abort
    return found


def _grpc(status: str) -> int:
    """A gRPC status by name or number; UNKNOWN for what is none."""
    name = status.upper()
    if name.isdigit():
        return int(name)
    return _GRPC.index(name) if name in _GRPC else _GRPC.index("UNKNOWN")


def share(millionths: int) -> Fields:
    """A `FractionalPercent`: of a hundred where that is exact, else of a million."""
    if millionths % 10_000 == 0:
        return {"numerator": millionths // 10_000, "denominator": "HUNDRED"}
    return {"numerator": millionths, "denominator": "MILLION"}


def cors(policy: routing.Cors) -> Fields:
    """A `CorsPolicy`. The age is whole seconds (0.4.0 wrote it as text that browsers cannot read)."""
    found: Fields = {"allow_origin_string_match": [_origin(each) for each in policy.origins]}
    for name, listed in (
        ("allow_methods", policy.methods),
        ("allow_headers", policy.allow_headers),
        ("expose_headers", policy.expose_headers),
    ):
        if listed:
            found[name] = ",".join(listed)
    if policy.max_age is not None:
        found["max_age"] = str(policy.max_age)
    if policy.credentials is not None:
        found["allow_credentials"] = {"value": policy.credentials}
    if not policy.forward_unmatched_preflights:
        found["forward_not_matching_preflights"] = {"value": False}
    return found


def _origin(wanted: routing.Pattern) -> Fields:
    if wanted.kind is routing.PatternKind.PRESENT or wanted == routing.Pattern(routing.PatternKind.EXACT, "*"):
        return {"safe_regex": {"regex": ".*"}}
    return string_match(wanted)


def retries(wanted: routing.Retries | None, *, hashed: bool = False) -> Fields | None:
    """A `RetryPolicy`, or None: nothing is retried unless a rule says so.

    `hashed`: the request decides on its endpoint, so that another is not preferred.
    """
    if wanted is None or wanted.attempts <= 0:
        return None
    policy: Fields = {"retry_on": wanted.retry_on, "num_retries": {"value": wanted.attempts}}
    if wanted.per_try_timeout is not None and wanted.per_try_timeout.ns > 0:
        policy["per_try_timeout"] = duration(wanted.per_try_timeout.ns)
    if wanted.codes:
        policy["retriable_status_codes"] = list(wanted.codes)
    if wanted.avoid_tried and (wanted.insists or not hashed):
        policy["retry_host_predicate"] = [{
            "name": PREVIOUS_HOSTS, "typed_config": pack("PreviousHostsPredicate", {})
        }]
        policy["host_selection_retry_max_attempts"] = OTHER_HOSTS
    if wanted.backoff is not None and wanted.backoff.ns > 0:
        policy["retry_back_off"] = {"base_interval": duration(wanted.backoff.ns)}
    return policy


def timeout(wanted: Duration | None) -> Fields:
    """0 (none) unless the rule sets one: Envoy's own 15 s are switched off, in both generations."""
    return duration(0 if wanted is None else max(0, wanted.ns))


def redirect(wanted: routing.Redirect, match: routing.RequestMatch, called: int = 0) -> Fields:
    """A `RedirectAction`, for requests to the port `called`."""
    found: Fields = {"response_code": _CODES.get(wanted.code, "FOUND")}
    if wanted.authority:
        found["host_redirect"] = wanted.authority
    if wanted.path:
        found["path_redirect"] = wanted.path
    elif wanted.prefix:
        found |= _prefix(wanted.prefix, match)
    if wanted.scheme:
        found["scheme_redirect"] = wanted.scheme
    # -1, the scheme's own port: Envoy's default. A scheme's own port is not written out, as istiod does not.
    port = {-1: 0, -2: called}.get(wanted.port, wanted.port)
    if port and port != _SCHEMES.get(wanted.scheme or "http"):
        found["port_redirect"] = port
    return found


def _prefix(new: str, match: routing.RequestMatch) -> Fields:
    """Replaces the matched prefix.

    A prefix of whole segments that becomes / must not leave two slashes behind: /a/b is /b then, and /a is /. A slash
    at the end of any other is left out, as in istiod: /b/ means the segments that /b means.
    """
    path = match.path
    if path.kind is not routing.PatternKind.SEGMENTS or not new.endswith("/"):
        return {"prefix_rewrite": new}
    if kept := new.rstrip("/"):
        return {"prefix_rewrite": kept}
    return {"regex_rewrite": {
        "pattern": {"regex": f"^{re.escape(path.value.rstrip('/'))}(/?)(.*)"}, "substitution": r"/\2",
    }}


def rewrite(wanted: routing.Rewrite | None, match: routing.RequestMatch, host: str) -> Fields:
    """Fields of a `RouteAction`; `host` is the destination's own name."""
    found: Fields = {}
    if wanted is None:
        return found
    if wanted.authority or wanted.auto_host:
        found["host_rewrite_literal"] = wanted.authority or host
    if wanted.regex:
        found["regex_rewrite"] = {"pattern": {"regex": wanted.regex}, "substitution": wanted.substitution}
    elif wanted.path:
        found |= _prefix(wanted.path, match)
    return found


def direct(wanted: routing.DirectResponse) -> Fields:
    """A `DirectResponseAction`."""
    found: Fields = {"status": wanted.status}
    if wanted.body:
        found["body"] = {"inline_string": wanted.body}
    return found


def header_changes(request: routing.HeaderChanges, response: routing.HeaderChanges) -> Fields:
    """Fields that a route and a weighted cluster have alike."""
    found: Fields = {}
    for name, changes in (("request", request), ("response", response)):
        # As in istiod what is set comes first: what is added to the same name then stays beside it.
        added = [_header(key, value, "OVERWRITE_IF_EXISTS_OR_ADD") for key, value in changes.set]
        added += [_header(key, value, "APPEND_IF_EXISTS_OR_ADD") for key, value in changes.add]
        if added:
            found[f"{name}_headers_to_add"] = added
        if changes.remove:
            found[f"{name}_headers_to_remove"] = list(changes.remove)
    return found


def _header(name: str, value: str, action: str) -> Fields:
    return {"header": {"key": name, "value": value}, "append_action": action}


def hash_policy(balancer: Balancer) -> Fields | None:
    """What of a request decides on its endpoint, None if nothing does."""
    if balancer.hash_header:
        return {"header": {"header_name": balancer.hash_header}}
    if balancer.hash_cookie:
        cookie: dict[str, Any] = {"name": balancer.hash_cookie}
        if balancer.cookie_path:
            cookie["path"] = balancer.cookie_path
        # Without a lifetime nobody makes the cookie; with one of 0 it lives as long as the session.
        if balancer.cookie_ttl is not None:
            cookie["ttl"] = duration(balancer.cookie_ttl.ns)
        return {"cookie": cookie}
    if balancer.hash_source_ip:
        return {"connection_properties": {"source_ip": True}}
    if balancer.hash_query:
        return {"query_parameter": {"name": balancer.hash_query}}
    return None
