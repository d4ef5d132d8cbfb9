"""Mutual TLS between sidecars, as Envoy's transport sockets. Pure. (TLS to servers outside the mesh: `tls`.)

A port takes plain text, mutual TLS, or either:

    DISABLE      one filter chain, as without any of this
    PERMISSIVE   a TLS inspector tells by a connection's first bytes. Whoever offers the protocol `istio` in ALPN is a
                 sidecar: mutual TLS. Everything else, also an application's own TLS, goes through as it came.
    STRICT       mutual TLS only. Plain text finds no filter chain, and is closed (flag NR).

Callers choose by endpoint (`matches`): an endpoint whose sidecar takes mutual TLS is marked so in EDS, so pods
with and without sidecar can stand behind one service. The certificates come by SDS (`secrets`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshlab.mesh.config.security import PeerMode
from meshlab.mesh.pilot.encode import Fields, pack
from meshlab.mesh.pilot.secrets import OWN, ROOTS, by_sds

__all__ = [
    "ENDPOINT_MARK", "INSPECTOR", "MARK", "chains", "inspector", "matches", "peer_socket", "server_name",
    "server_socket", "trust_prefix",
]

TLS = "envoy.transport_sockets.tls"
INSPECTOR = "envoy.filters.listener.tls_inspector"
#: Offered in ALPN by sidecars only.
SIDECAR = "istio"
#: Where the metadata of an endpoint says that it takes mutual TLS, and how. In a map protobuf wants a Struct as the
#: message that it is, elsewhere as plain JSON.
ENDPOINT_MARK, WANTED = "envoy.transport_socket_match", {"tlsMode": SIDECAR}
MARK: Fields = {"fields": {name: {"string_value": value} for name, value in WANTED.items()}}
#: Envoy as a client stops at 1.2 unless told.
VERSIONS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}


def trust_prefix(domain: str) -> str:
    """What every identity of the mesh begins with."""
    return f"spiffe://{domain}/"


# The called side


def inspector() -> Fields:
    """The listener filter by which plain text, mutual TLS and other TLS are told apart."""
    return {"name": INSPECTOR, "typed_config": pack("TlsInspector", {})}


def server_socket(domain: str, *, http: bool) -> Fields:
    """Takes only callers that prove an identity of the mesh."""
    return _socket("DownstreamTlsContext", {
        "require_client_certificate": {"value": True},
        "common_tls_context": _common(
            [_uri("prefix", trust_prefix(domain))], ["h2", "http/1.1"] if http else [SIDECAR]
        ),
    })


def chains(mode: PeerMode, filters: Sequence[Fields], domain: str, *, http: bool) -> list[Fields]:
    """An inbound listener's filter chains. PERMISSIVE and STRICT need the `inspector`."""
    plain: Fields = {"filters": list(filters)}
    if mode in (PeerMode.DISABLE, PeerMode.UNSET):
        return [plain]
    match: Fields = {"transport_protocol": "tls"}
    if mode is PeerMode.PERMISSIVE:
        match["application_protocols"] = [SIDECAR]
    secured: Fields = {
        "name": "mutual-tls", "filter_chain_match": match, "filters": list(filters),
        "transport_socket": server_socket(domain, http=http),
    }
    return [secured] if mode is PeerMode.STRICT else [secured, {"name": "plain", **plain}]


# The calling side


def peer_socket(
    domain: str, identities: Iterable[str], sni: str, *, http2: bool = False, http: bool = True
) -> Fields:
    """Mutual TLS with a sidecar that proves one of these identities (any of the mesh, if none is known)."""
    known = [_uri("exact", each) for each in sorted(set(identities))] or [_uri("prefix", trust_prefix(domain))]
    spoken = ["h2"] if http2 else ["http/1.1"] if http else []
    return _socket("UpstreamTlsContext", {"common_tls_context": _common(known, [SIDECAR, *spoken]), "sni": sni})


def matches(secured: Fields) -> list[Fields]:
    """`transport_socket_matches`: mutual TLS to endpoints that are marked, plain text to the others."""
    return [
        {"name": "mutual-tls", "match": WANTED, "transport_socket": secured},
        {"name": "plain", "match": {}, "transport_socket": {
            "name": "envoy.transport_sockets.raw_buffer", "typed_config": pack("RawBuffer", {}),
        }},
    ]


def server_name(host: str, port: int, subset: str = "") -> str:
    """What a sidecar says in SNI, as Istio's do: `outbound_.80_.v1_.svcb.default.svc.cluster.local`."""
    return f"outbound_.{port}_.{subset}_.{host}"


def _common(peers: list[Fields], protocols: list[str]) -> Fields:
    return {
        "tls_params": dict(VERSIONS),
        "alpn_protocols": protocols,
        "tls_certificate_sds_secret_configs": [by_sds(OWN)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": peers},
            "validation_context_sds_secret_config": by_sds(ROOTS),
        },
    }


def _uri(how: str, text: str) -> Fields:
    return {"san_type": "URI", "matcher": {how: text}}


def _socket(message: str, fields: Fields) -> Fields:
    return {"name": TLS, "typed_config": pack(message, fields)}
