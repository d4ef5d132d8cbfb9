"""What a matched rule does to a request, as fields of an Envoy route.

Everything is in the route itself (faults and CORS as its own configuration of filters that every listener
has), so that a rule changes a route table and never a listener: a listener that changes drains its connections.
"""

from __future__ import annotations

from meshlab.mesh.config.model import CorsPolicy, Fault, RouteRule
from meshlab.mesh.pilot.encode import Fields, duration, pack

__all__ = ["CORS", "FAULT", "RETRY_ON", "append_headers", "cors", "fault", "filters", "redirect", "retries"]

#: Names of the filters in every HTTP filter chain.
CORS = "envoy.filters.http.cors"
FAULT = "envoy.filters.http.fault"
RETRY_ON = "5xx,connect-failure,refused-stream"


def filters(rule: RouteRule) -> Fields:
    """Configuration of the listener's filters for this route alone: `typed_per_filter_config`."""
    found: Fields = {}
    if rule.cors is not None:
        found[CORS] = pack("CorsPolicy", cors(rule.cors))
    injected = fault(rule.fault) if rule.fault is not None else None
    if injected:
        found[FAULT] = pack("HTTPFault", injected)
    return found


def fault(wanted: Fault) -> Fields:
    """An `HTTPFault`. As in 0.4.0, percentages are cut to whole numbers and 0 (or none given) injects nothing."""
    found: Fields = {}
    delay, abort = wanted.delay, wanted.abort
    if delay is not None and delay.fixed is not None and int(delay.percent) > 0:
        found["delay"] = {"fixed_delay": duration(delay.fixed.ns), "percentage": _percent(delay.percent)}
    # Envoy answers with 200 to 599; other statuses pass 0.4.0's validation and have no effect.
    if abort is not None and int(abort.percent) > 0 and 200 <= (abort.http_status or 0) < 600:
        found["abort"] = {"http_status": abort.http_status, "percentage": _percent(abort.percent)}
    return found


def _percent(number: float) -> Fields:
    return {"numerator": int(number), "denominator": "HUNDRED"}


def cors(policy: CorsPolicy) -> Fields:
    """A `CorsPolicy`. maxAge is whole seconds (0.4.0 wrote it as text that browsers cannot read)."""
    found: Fields = {
        "allow_origin_string_match": [
            {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}
            for origin in policy.allow_origin
        ],
    }
    for name, listed in (
        ("allow_methods", policy.allow_methods),
        ("allow_headers", policy.allow_headers),
        ("expose_headers", policy.expose_headers),
    ):
        if listed:
            found[name] = ",".join(listed)
    if policy.max_age is not None:
        found["max_age"] = str(policy.max_age.ns // 1_000_000_000)
    if policy.allow_credentials is not None:
        found["allow_credentials"] = {"value": policy.allow_credentials}
    return found


def retries(rule: RouteRule) -> Fields | None:
    """A `RetryPolicy`, or None: nothing is retried unless a rule says so."""
    wanted = rule.retries
    if wanted is None or not wanted.simple or wanted.attempts <= 0:
        return None
    policy: Fields = {"retry_on": RETRY_ON, "num_retries": {"value": wanted.attempts}}
    if wanted.per_try_timeout is not None and wanted.per_try_timeout.milliseconds > 0:
        policy["per_try_timeout"] = duration(wanted.per_try_timeout.milliseconds * 1_000_000)
    return policy


def timeout(rule: RouteRule) -> Fields:
    """0 (none) unless the rule sets one: Pilot 0.4.0 switches off Envoy's own 15 s."""
    wanted = rule.timeout
    if wanted is None or not wanted.simple or wanted.timeout is None:
        return duration(0)
    return duration(max(0, wanted.timeout.milliseconds) * 1_000_000)


def redirect(rule: RouteRule) -> Fields | None:
    """A `RedirectAction` with status 302."""
    if rule.redirect is None:
        return None
    found: Fields = {"response_code": "FOUND"}
    if rule.redirect.authority:
        found["host_redirect"] = rule.redirect.authority
    if rule.redirect.uri:
        found["path_redirect"] = rule.redirect.uri
    return found


def append_headers(rule: RouteRule) -> list[Fields]:
    """Headers added to the request, in order of name."""
    return [
        {
            # A % begins one of Envoy's variables; doubled, it is itself.
            "header": {"key": name, "value": value.replace("%", "%%")},
            "append_action": "APPEND_IF_EXISTS_OR_ADD",
        }
        for name, value in sorted(rule.append_headers.items())
    ]
