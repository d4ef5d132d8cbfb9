"""RequestAuthentications as Envoy's token filter. Pure.

A request without a token passes; one with a token that no rule takes is answered 401 with the reason. Who must have a
token is for an AuthorizationPolicy to say (`requestPrincipals: ["*"]`). What was verified is left where the RBAC
filters look for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from meshlab.mesh.config.security import JwtRule, RequestAuthentication
from meshlab.mesh.pilot import keysets
from meshlab.mesh.pilot.authorization import PAYLOAD, TOKENS
from meshlab.mesh.pilot.encode import Fields, duration, pack

__all__ = ["KeySource", "filters", "key_sources", "token_problem"]

#: How long a fetched key set is used, and the pause after a fetch that failed, seconds as ns.
KEPT_NS, AGAIN_NS = 300_000_000_000, 1_000_000_000
#: Claims that hold several values with spaces between, by custom.
SPACED = ("scope", "permission")


@dataclass(frozen=True, slots=True)
class KeySource:
    """A server from which a key set is fetched. `host` is a name or an address."""

    cluster: str
    host: str
    port: int
    tls: bool


def key_source(uri: str) -> KeySource:
    """Raises ValueError for what is no http or https URI."""
    found: SplitResult = urlsplit(uri)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ValueError(f"{uri!r} is not an http or https URI")
    port = found.port or (443 if found.scheme == "https" else 80)
    return KeySource(f"jwks|{found.hostname}|{port}", found.hostname, port, found.scheme == "https")


def key_sources(policies: Sequence[RequestAuthentication]) -> tuple[KeySource, ...]:
    """The servers that these policies need, each once."""
    uris = [rule.jwks_uri for policy in policies for rule in policy.rules if not rule.jwks and rule.jwks_uri]
    return tuple(dict.fromkeys(key_source(uri) for uri in uris if not _uri_problem(uri)))


def token_problem(policy: RequestAuthentication) -> str:
    """Why a policy is not wholly in force; "" if it is."""
    for rule in policy.rules:
        if problem := _rule_problem(rule):
            return f"tokens of issuer {rule.issuer!r} are refused: {problem}"
    return ""


def _rule_problem(rule: JwtRule) -> str:
    if rule.jwks:
        return keysets.problem(rule.jwks)
    if rule.jwks_uri:
        return _uri_problem(rule.jwks_uri)
    return "neither jwks nor jwksUri is given, and this mesh does not ask the issuer where its keys are"


def _uri_problem(uri: str) -> str:
    try:
        key_source(uri)
    except ValueError as error:
        return f"jwksUri: {error}"
    return ""


def filters(policies: Sequence[RequestAuthentication]) -> list[Fields]:
    """The HTTP filter for a pod's policies; [] where there are none."""
    rules = [rule for policy in policies for rule in policy.rules]
    if not rules:
        return []
    providers = {f"origins-{number}": _provider(rule) for number, rule in enumerate(rules)}
    wanted: list[Fields] = [{"provider_name": name} for name in providers]
    return [{"name": TOKENS, "typed_config": pack("JwtAuthentication", {
        "providers": providers,
        "rules": [{
            "match": {"prefix": "/"},
            "requires": {"requires_any": {"requirements": [*wanted, {"allow_missing": {}}]}},
        }],
        "bypass_cors_preflight": True,
    })}]


def _provider(rule: JwtRule) -> Fields:
    found: Fields = {
        "issuer": rule.issuer,
        "forward": rule.forward,
        "payload_in_metadata": PAYLOAD,
        "normalize_payload_in_metadata": {"space_delimited_claims": list(SPACED)},
    }
    if rule.audiences:
        found["audiences"] = list(rule.audiences)
    if _rule_problem(rule):
        # No key fits: every token of this issuer is refused, which is what its author can rely on.
        found["local_jwks"] = {"inline_string": keysets.NOBODYS}
    elif rule.jwks:
        found["local_jwks"] = {"inline_string": rule.jwks}
    else:
        source = key_source(rule.jwks_uri)
        found["remote_jwks"] = {
            "http_uri": {
                "uri": rule.jwks_uri, "cluster": source.cluster, "timeout": duration(int(rule.timeout * 1e9)),
            },
            "cache_duration": duration(KEPT_NS),
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": duration(AGAIN_NS)},
        }
    if rule.from_headers:
        found["from_headers"] = [
            {"name": name, "value_prefix": prefix} for name, prefix in rule.from_headers
        ]
    if rule.from_params:
        found["from_params"] = list(rule.from_params)
    if rule.from_cookies:
        found["from_cookies"] = list(rule.from_cookies)
    if rule.output_payload_header:
        found["forward_payload_header"] = rule.output_payload_header
    if rule.claims_to_headers:
        found["claim_to_headers"] = [
            {"header_name": header, "claim_name": claim} for header, claim in rule.claims_to_headers
        ]
    return found


def key_cluster(
    source: KeySource, address: Callable[[str, int], tuple[str, int] | None], bind: Fields | None = None
) -> Fields:
    """The cluster of a key server; `address` gives (address, port) of a service of the mesh, None for other names."""
    inside = address(source.host, source.port)
    host, port = inside or (source.host, source.port)
    known = inside is not None or host.replace(".", "").isdigit()
    found: Fields = {
        "name": source.cluster,
        "type": "STATIC" if known else "STRICT_DNS",
        "connect_timeout": duration(5_000_000_000),
        "load_assignment": {
            "cluster_name": source.cluster,
            "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": host, "port_value": port}}
            }}]}],
        },
    }
    if bind and not known:
        found["upstream_bind_config"] = bind
    if source.tls:
        found["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": pack("UpstreamTlsContext", {
                "sni": source.host,
                "common_tls_context": {
                    "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                    "validation_context": {
                        "system_root_certs": {},
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": source.host}}],
                    },
                },
            }),
        }
    return found
