"""Verdicts on the kinds of Mixer's client; see `validate`. These kinds have no model: fields are checked as decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlab.mesh.config.gotext import go_quote
from meshlab.mesh.config.labels import Labels
from meshlab.mesh.config.model import IstioService
from meshlab.mesh.config.names import is_label
from meshlab.mesh.config.validate import check_duration, check_service

__all__ = ["check_client_kind"]

Fields = Mapping[str, Any]


def check_client_kind(type_name: str, fields: Fields) -> list[str]:
    """Problems of an API spec, quota spec, authentication policy or a binding of one."""
    if type_name == "http-api-spec":
        return _api_spec(fields)
    if type_name == "quota-spec":
        return _quota_spec(fields)
    if type_name == "end-user-authentication-policy-spec":
        return _authentication_policy(fields)
    field, what, reference = {
        "http-api-spec-binding": ("api_specs", "spec", "HTTPAPISpecReference"),
        "quota-spec-binding": ("quota_specs", "spec", "QuotaSpecReference"),
        "end-user-authentication-policy-spec-binding": (
            "policies",
            "policy",
            "EndUserAuthenticationPolicySpecReference",
        ),
    }[type_name]
    return _binding(fields.get("services", ()), fields.get(field, ()), what, reference)


def _attributes(message: Fields | None) -> list[str]:
    attributes: Mapping[str, Fields] = (message or {}).get("attributes", {})
    if not attributes:
        return ["list of attributes is nil/empty"]
    out = []
    for key, value in attributes.items():
        quoted = go_quote(key)
        if value.get("string_value") == "":
            out.append(f"string attribute for {quoted} should not be empty")
        if "duration_value" in value:
            out += check_duration(value["duration_value"])
        if value.get("bytes_value") == "":
            out.append(f"bytes attribute for {quoted} should not be ")
        if "string_map_value" in value and not (value["string_map_value"] or {}).get("entries"):
            out.append(f"stringmap attribute for {quoted} should not be nil")
    return out


def _api_spec(fields: Fields) -> list[str]:
    top: Fields | None = fields.get("attributes")
    out = _attributes(top) if top is not None else []
    patterns: Sequence[Fields] = fields.get("patterns", ())
    if not patterns:
        out.append("at least one pattern must be specified")
    for pattern in patterns:
        out += _attributes(top)  # 0.4.0 looks at the list of the whole spec here, not at the pattern's
        if not pattern.get("http_method"):
            out.append("http_method cannot be empty")
        out += [f"{name} cannot be empty" for name in ("uri_template", "regex") if pattern.get(name) == ""]
    for key in fields.get("api_keys", ()):
        out += [f"{name} cannot be empty" for name in ("query", "header", "cookie") if key.get(name) == ""]
    return out


def _quota_spec(fields: Fields) -> list[str]:
    rules: Sequence[Fields] = fields.get("rules", ())
    out = [] if rules else ["a least one rule must be specified"]
    for rule in rules:
        for match in rule.get("match", ()):
            for name, clause in match.get("clause", {}).items():
                out += [
                    f"StringMatch_{kind.capitalize()} for attribute {go_quote(name)} cannot be empty"
                    for kind in ("exact", "prefix", "regex")
                    if clause.get(kind) == ""
                ]
        quotas: Sequence[Fields] = rule.get("quotas", ())
        if not quotas:
            out.append("a least one quota must be specified")
        for quota in quotas:
            if not quota.get("quota"):
                out.append("quota name cannot be empty")
            if quota.get("charge", 0) <= 0:
                out.append("quota charge amount must be positive")
    return out


def _authentication_policy(fields: Fields) -> list[str]:
    tokens: Sequence[Fields] = fields.get("jwts", ())
    out = [] if tokens else ["at least one JWT must be specified"]
    for token in tokens:
        if not token.get("issuer"):
            out.append("issuer must be set")
        out += ["audience must be non-empty string" for audience in token.get("audiences", ()) if not audience]
        uri: str = token.get("jwks_uri", "")
        if not uri:
            out.append("jwks_uri must be set")
        if not uri.startswith("https"):  # 0.4.0 says otherwise, but refuses http:// as well
            out.append("jwks_uri must have http:// or https:// scheme")
        for location in token.get("locations", ()):
            out += [
                f"location {name} must be non-empty string" for name in ("header", "query") if location.get(name) == ""
            ]
        if token.get("public_key_cache_duration") is not None:
            out += check_duration(token["public_key_cache_duration"])
    return out


def _binding(services: Sequence[Fields], references: Sequence[Fields], what: str, reference: str) -> list[str]:
    out = [] if services else ["at least one service must be specified"]
    for service in services:
        known = {name: service.get(name, "") for name in ("name", "namespace", "domain", "service")}
        out += check_service(IstioService(**known, labels=Labels(service.get("labels", {}))))
    if not references:
        out.append(f"at least one {what} must be specified")
    for each in references:
        if not each.get("name"):
            out.append(f"name is mandatory for {reference}")
        namespace = each.get("namespace", "")
        if namespace and not is_label(namespace):
            out.append(f"namespace {go_quote(namespace)} must be a valid label")
    return out
