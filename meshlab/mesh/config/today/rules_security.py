"""What istiod refuses of security.istio.io and telemetry.istio.io beyond their schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from meshlab.mesh.config.today.checks import at, check_labels, check_one_line, is_address, is_cidr
from meshlab.mesh.config.today.expressions import expression_problem, is_text

__all__ = ["authorization_policy", "peer_authentication", "request_authentication", "telemetry"]

Fields = Mapping[str, Any]
_CONDITIONS = re.compile(
    r"(?:request\.headers\[[^\[\]]+\]|request\.auth\.claims(?:\[[^\[\]]+\])+|source\.ip|remote\.ip|source\.namespace|"
    r"source\.principal|source\.serviceAccount|request\.auth\.(?:principal|audiences|presenter)|destination\.ip|"
    r"destination\.port|connection\.sni|experimental\.envoy\.filters\..+)\Z"
)


def _selector(spec: Fields) -> list[str]:
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    out = [
        f"wildcard is not supported in selector: {key}={value}" for key, value in labels.items() if "*" in key + value
    ]
    return out or check_labels(labels.items())


def peer_authentication(spec: Fields) -> list[str]:
    return _selector(spec)


def authorization_policy(spec: Fields) -> list[str]:
    out = _selector(spec)
    action, rules = spec.get("action") or "ALLOW", spec.get("rules")
    if action == "DENY" and not rules:
        out.append("DENY policy without `rules` is meaningless and has no effect, found at least one is required")
    if action == "CUSTOM" and not (spec.get("provider") or {}).get("name"):
        out.append("`provider.name` must not be empty")
    for number, rule in enumerate(rules or ()):
        out += [f"{problem}, found at rule {number}" for problem in _rule(rule or {}, action)]
    return out


def _rule(rule: Fields, action: str) -> list[str]:
    out = []
    for name, inner in (("from", "source"), ("to", "operation")):
        listed = rule.get(name)
        if listed is not None and not listed:
            out.append(f"`{name}` cannot be empty")
        for each in listed or ():
            said = each.get(inner)
            if said is None:
                out.append(f"`{name}.{inner}` cannot be nil")
            elif not any(said.values()):
                out.append(f"`{name}.{inner}` must have at least one field set")
            else:
                out += _source(said) if name == "from" else _operation(said)
            empty = [key for key, values in (said or {}).items() if values is not None and not values]
            out += [f"`{name}.{inner}.{key}` cannot be empty" for key in empty]
    for each in rule.get("when") or ():
        out += _condition(each)
    if action == "CUSTOM" and any(
        (each.get("source") or {}).get(key)
        for each in rule.get("from") or ()
        for key in ("requestPrincipals", "notRequestPrincipals")
    ):
        out.append("requestPrincipals cannot be used with CUSTOM: tokens are checked after it")
    return out


def _source(source: Fields) -> list[str]:
    out = []
    for key in ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"):
        for block in source.get(key) or ():
            if not is_address(block) and not is_cidr(block):
                out.append(f"invalid ip block {block!r}")
    accounts = (*(source.get("serviceAccounts") or ()), *(source.get("notServiceAccounts") or ()))
    out += [f"serviceAccounts value {each!r} has more than one /" for each in accounts if each.count("/") > 1]
    if accounts and any(source.get(key) for key in ("principals", "notPrincipals", "namespaces", "notNamespaces")):
        out.append("cannot set serviceAccounts with namespaces or principals")
    return out


def _operation(operation: Fields) -> list[str]:
    out = []
    for port in (*(operation.get("ports") or ()), *(operation.get("notPorts") or ())):
        if not port.isdigit() or not 0 < int(port) < 65536:
            out.append(f"invalid port {port}")
    for path in (*(operation.get("paths") or ()), *(operation.get("notPaths") or ())):
        if "{" in path or "}" in path:
            parts = [part for part in path.split("/") if "{" in part or "}" in part]
            if any(part not in ("{*}", "{**}") for part in parts) or path.find("{**}", 0) != path.rfind("{**}"):
                out.append(
                    f"invalid or unsupported path {path}. Contains '{{' or '}}' beyond a supported path template"
                )
    return out


def _condition(condition: Fields) -> list[str]:
    key = condition.get("key") or ""
    values, none = condition.get("values") or (), condition.get("notValues") or ()
    out = [] if values or none else [f"at least one of `values` or `not_values` must be set for key {key}"]
    if not _CONDITIONS.match(key):
        return [*out, f"invalid condition: unknown attribute: {key}"]
    out += check_one_line(key, "when.key")
    for value in (*values, *none):
        if key in ("source.ip", "remote.ip", "destination.ip") and not is_address(value) and not is_cidr(value):
            out.append(f"invalid condition: {key}: invalid ip {value!r}")
        if key == "destination.port" and not (value.isdigit() and 0 < int(value) < 65536):
            out.append(f"invalid condition: destination.port: invalid port {value}")
    return out


def request_authentication(spec: Fields) -> list[str]:
    out = _selector(spec)
    for number, rule in enumerate(spec.get("jwtRules") or ()):
        out += at(f"jwtRules[{number}]", _jwt(rule))
    return out


def _jwt(rule: Fields) -> list[str]:
    out = []
    if text := rule.get("jwks"):
        try:
            keys = json.loads(text)
        except ValueError as error:
            return [f"failed to parse jwks: {error}"]
        if not isinstance(keys, Mapping) or not isinstance(keys.get("keys"), list):
            out.append("failed to parse jwks: it must be a JSON object with the list `keys`")
    for each in rule.get("fromHeaders") or ():
        out += check_one_line(each.get("name") or "", "fromHeaders.name")
    out += check_one_line(rule.get("outputPayloadToHeader") or "", "outputPayloadToHeader")
    for each in rule.get("outputClaimToHeaders") or ():
        if not each.get("header") or not each.get("claim"):
            out.append("outputClaimToHeaders header and claim value must be non-empty")
    return out


def telemetry(spec: Fields) -> list[str]:
    out = _selector(spec)
    for number, each in enumerate(spec.get("tracing") or ()):
        for name, tag in (each.get("customTags") or {}).items():
            if not name:
                out.append(f"tracing[{number}]: a tag needs a name")
            if tag is None:
                out.append(f"tracing[{number}].customTags[{name}]: must not be null")
    for number, each in enumerate(spec.get("accessLogging") or ()):
        if expression := (each.get("filter") or {}).get("expression"):
            out += at(f"accessLogging[{number}].filter", _expression(expression))
    for number, each in enumerate(spec.get("metrics") or ()):
        for place, override in enumerate(each.get("overrides") or ()):
            for name, tag in (override.get("tagOverrides") or {}).items():
                if value := (tag or {}).get("value"):
                    out += at(f"metrics[{number}].overrides[{place}].tagOverrides[{name}]", _tag(value))
    return out


def _expression(text: str) -> list[str]:
    problem = expression_problem(text)
    return [problem] if problem else []


def _tag(text: str) -> list[str]:
    """It becomes part of a format, in which % ends it."""
    return [f"{text!r}: % cannot be used in a tag"] if "%" in text and not is_text(text) else _expression(text)
