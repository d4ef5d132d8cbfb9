"""Messages of Mixer's client that Pilot distributes: API specs, quota specs, end-user authentication policies."""

from __future__ import annotations

from meshlab.mesh.config.schema import Field, Message, Scalar, Shape

__all__ = ["client_messages"]

_STRING, _MANY, _MAP = Scalar.STRING, Shape.MANY, Shape.MAP


def _message(name: str, *fields: Field) -> Message:
    return Message(f"client.{name}", fields)


def _reference(name: str) -> Message:
    return _message(name, Field("name", _STRING), Field("namespace", _STRING))


def _binding(name: str, refers_to: str, field: str, service: Message) -> Message:
    return _message(name, Field("services", service, _MANY), Field(field, _reference(refers_to), _MANY))


def _attributes() -> Message:
    values = (
        ("string_value", _STRING),
        ("int64_value", Scalar.INT64),
        ("double_value", Scalar.DOUBLE),
        ("bool_value", Scalar.BOOL),
        ("bytes_value", Scalar.RAW),
        ("timestamp_value", Scalar.RAW),
        ("duration_value", Scalar.DURATION),
    )
    entries = Message("v1.Attributes_StringMap", (Field("entries", _STRING, _MAP),))
    value = Message(
        "v1.Attributes_AttributeValue",
        (
            *(Field(name, kind, oneof="value") for name, kind in values),
            Field("string_map_value", entries, oneof="value"),
        ),
    )
    return Message("v1.Attributes", (Field("attributes", value, _MAP),))


def client_messages() -> dict[str, Message]:
    """Messages by the hyphenated type of their kind."""
    service = _message(
        "IstioService",
        *(Field(name, _STRING) for name in ("name", "namespace", "domain", "service")),
        Field("labels", _STRING, _MAP),
    )
    attributes = _attributes()
    pattern = _message(
        "HTTPAPISpecPattern",
        Field("attributes", attributes),
        Field("http_method", _STRING),
        Field("uri_template", _STRING, oneof="pattern"),
        Field("regex", _STRING, oneof="pattern"),
    )
    api_key = _message("APIKey", *(Field(name, _STRING, oneof="key") for name in ("query", "header", "cookie")))
    matcher = _message(
        "StringMatch", *(Field(name, _STRING, oneof="match_type") for name in ("exact", "prefix", "regex"))
    )
    quota_rule = _message(
        "QuotaRule",
        Field("match", _message("AttributeMatch", Field("clause", matcher, _MAP)), _MANY),
        Field("quotas", _message("Quota", Field("quota", _STRING), Field("charge", Scalar.INT64)), _MANY),
    )
    location = _message("JWT_Location", *(Field(name, _STRING, oneof="scheme") for name in ("header", "query")))
    jwt = _message(
        "JWT",
        Field("issuer", _STRING),
        Field("audiences", _STRING, _MANY),
        Field("jwks_uri", _STRING),
        Field("forward_jwt", Scalar.BOOL),
        Field("public_key_cache_duration", Scalar.DURATION),
        Field("locations", location, _MANY),
        Field("jwks_uri_envoy_cluster", _STRING),
    )
    return {
        "http-api-spec": _message(
            "HTTPAPISpec",
            Field("attributes", attributes),
            Field("patterns", pattern, _MANY),
            Field("api_keys", api_key, _MANY),
        ),
        "http-api-spec-binding": _binding("HTTPAPISpecBinding", "HTTPAPISpecReference", "api_specs", service),
        "quota-spec": _message("QuotaSpec", Field("rules", quota_rule, _MANY)),
        "quota-spec-binding": _binding(
            "QuotaSpecBinding", "QuotaSpecBinding_QuotaSpecReference", "quota_specs", service
        ),
        "end-user-authentication-policy-spec": _message(
            "EndUserAuthenticationPolicySpec", Field("jwts", jwt, _MANY)
        ),
        "end-user-authentication-policy-spec-binding": _binding(
            "EndUserAuthenticationPolicySpecBinding", "EndUserAuthenticationPolicySpecReference", "policies", service
        ),
    }
