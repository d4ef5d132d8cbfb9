"""TLS that a sidecar originates for its application, and that a gateway ends. Pure. (Between sidecars: `mutual`.)"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from meshlab.mesh.config.outside import ServerTls
from meshlab.mesh.config.traffic import ClientTls
from meshlab.mesh.pilot.encode import Fields
from meshlab.mesh.pilot.secrets import by_sds
from meshlab.mesh.pilot.world import KeyPair, Mesh

__all__ = ["CLIENTS_PROVE", "credential_secrets", "downstream_tls", "key_pair", "upstream_tls"]

#: Modes in which clients of a gateway show a certificate, or may.
CLIENTS_PROVE = ("MUTUAL", "OPTIONAL_MUTUAL")

#: What a gateway offers: as 0.4.0's ingress did.
ALPN = ("h2", "http/1.1")
_PARTS = ("tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert")
_VERSIONS = {"TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}
#: In place of a file: the machine's own authorities.
SYSTEM = "system"


def upstream_tls(
    tls: ClientTls, mesh: Mesh, host: str, names: Sequence[str] = (), *, http2: bool = False
) -> Fields | None:
    """An `UpstreamTlsContext` for SIMPLE and MUTUAL; None where the sidecar adds no TLS of its own kind.

    `host` is the destination, for SNI; `names` are those that the server's certificate may have, () for the host's.
    `http2`: it is offered in ALPN, without which most servers speak HTTP/1.1.
    """
    if tls.mode not in ("SIMPLE", "MUTUAL"):
        return None
    # Envoy as a client stops at TLS 1.2 unless told.
    common: Fields = {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}}
    if http2:
        common["alpn_protocols"] = ["h2"]
    if tls.mode == "MUTUAL" and tls.client_certificate:
        common["tls_certificates"] = [{
            "certificate_chain": {"filename": tls.client_certificate},
            "private_key": {"filename": tls.private_key},
        }]
    sni = tls.sni or (host if _is_name(host) else "")
    authorities = mesh.authorities if tls.ca_certificates in ("", SYSTEM) else tls.ca_certificates
    if tls.verify and authorities:
        wanted = tls.subject_alt_names or tuple(names) or ((sni,) if sni else ())
        common["validation_context"] = {
            "trusted_ca": {"filename": authorities},
            "match_typed_subject_alt_names": [
                {"san_type": "URI" if "://" in each else "DNS", "matcher": {"exact": each}} for each in wanted
            ],
        }
    found: Fields = {"common_tls_context": common}
    if sni:
        found["sni"] = sni
    return found


def _is_name(host: str) -> bool:
    """Neither a wildcard nor an address: something that may be said in SNI."""
    return bool(host) and "*" not in host and "/" not in host and not host.replace(".", "").isdigit()


def key_pair(data: Mapping[str, str]) -> KeyPair | None:
    """From the data (base64) of a secret of type kubernetes.io/tls (tls.crt, tls.key, ca.crt), or of Istio's own form
    (cert, key, cacert); None for any other, or one that is no PEM."""
    try:
        known = {name: base64.b64decode(text, validate=True) for name, text in data.items() if name in _PARTS}
    except (ValueError, TypeError):
        return None
    certificate = known.get("tls.crt") or known.get("cert") or b""
    key = known.get("tls.key") or known.get("key") or b""
    if b"-----BEGIN CERTIFICATE-----" not in certificate or b"PRIVATE KEY-----" not in key:
        return None
    return KeyPair(certificate, key, known.get("ca.crt") or known.get("cacert") or b"")


def credential_secrets(name: str, pair: KeyPair) -> dict[str, Fields]:
    """A gateway's secret `namespace/name` as Envoy's, by SDS name: the certificate, and its clients' authority."""
    own, roots = _names(name)
    found: dict[str, Fields] = {own: {"name": own, "tls_certificate": {
        "certificate_chain": {"inline_bytes": pair.certificate}, "private_key": {"inline_bytes": pair.key},
    }}}
    if pair.authority:
        found[roots] = {"name": roots, "validation_context": {"trusted_ca": {"inline_bytes": pair.authority}}}
    return found


def downstream_tls(wanted: ServerTls, name: str) -> Fields:
    """A `DownstreamTlsContext` of a gateway, with the certificate of the secret `namespace/name` by SDS.

    A new certificate is another secret of the same name: the listener stays, and with it every open connection.
    """
    own, roots = _names(name)
    common: Fields = {"alpn_protocols": list(ALPN), "tls_certificate_sds_secret_configs": [by_sds(own)]}
    limits = {"tls_minimum_protocol_version": wanted.min_version, "tls_maximum_protocol_version": wanted.max_version}
    if said := {name: _VERSIONS[version] for name, version in limits.items() if version in _VERSIONS}:
        common["tls_params"] = said
    found: Fields = {"common_tls_context": common}
    if wanted.mode in CLIENTS_PROVE:
        default: Fields = {}
        if wanted.subject_alt_names:
            default["match_typed_subject_alt_names"] = [
                {"san_type": "URI" if "://" in each else "DNS", "matcher": {"exact": each}}
                for each in wanted.subject_alt_names
            ]
        common["combined_validation_context"] = {
            "default_validation_context": default, "validation_context_sds_secret_config": by_sds(roots),
        }
        found["require_client_certificate"] = {"value": wanted.mode == "MUTUAL"}
    return found


def _names(credential: str) -> tuple[str, str]:
    """Names of the two secrets, as Istio's gateways call them."""
    return f"kubernetes://{credential}", f"kubernetes://{credential}-cacert"
