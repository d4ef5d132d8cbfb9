"""Certificates as Envoy's secrets: what SDS gives a proxy, and nobody else.

istio-ca writes one Secret `istio.<account>` for each service account. Pilot reads them and serves each proxy those of
its own account, which the proxy's token has proved (see `tokens`), never those that it merely names. The key goes
from the API server's store through Pilot's memory into Envoy's: no proxy reads it from a file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlab.mesh.pilot.encode import Fields

__all__ = [
    "ISSUED", "OWN", "ROOTS", "SECRET_TYPE", "Certificate", "by_sds", "read_certificate", "secrets", "spiffe",
]

#: Type of the Secrets that istio-ca writes, and what their names begin with.
SECRET_TYPE, ISSUED = "istio.io/key-and-cert", "istio."
#: Names of a proxy's two secrets, those of Istio's agents: its own certificate with key, and whom it believes.
OWN, ROOTS = "default", "ROOTCA"
_HEAD, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one service account proves itself with, PEM."""

    chain: str
    key: str = field(repr=False)
    root: str


def spiffe(account: str, domain: str = "cluster.local") -> str:
    """The identity of `namespace/account`.

    >>> spiffe("default/svca")
    'spiffe://cluster.local/ns/default/sa/svca'
    """
    namespace, _, name = account.partition("/")
    return f"spiffe://{domain}/ns/{namespace}/sa/{name}"


def read_certificate(obj: Mapping[str, Any]) -> tuple[str, Certificate] | None:
    """(`namespace/account`, certificate) of a Secret; None for any other Secret, or one that is not whole."""
    meta, data = obj.get("metadata") or {}, obj.get("data") or {}
    name = str(meta.get("name") or "")
    if obj.get("type") != SECRET_TYPE or not name.startswith(ISSUED):
        return None
    try:
        chain, key, root = (
            base64.b64decode(data[part], validate=True).decode("ascii")
            for part in ("cert-chain.pem", "key.pem", "root-cert.pem")
        )
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        return None
    if not (_whole(chain) and _whole(root) and "PRIVATE KEY" in key):
        return None
    return f"{meta.get('namespace')}/{name.removeprefix(ISSUED)}", Certificate(chain, key, root)


def _whole(pem: str) -> bool:
    return pem.lstrip().startswith(_HEAD) and pem.rstrip().endswith(_END)


def secrets(certificate: Certificate) -> dict[str, Fields]:
    """The proxy's secrets by name, as `Secret` messages."""
    return {
        OWN: {
            "name": OWN,
            "tls_certificate": {
                "certificate_chain": {"inline_string": certificate.chain},
                "private_key": {"inline_string": certificate.key},
            },
        },
        ROOTS: {"name": ROOTS, "validation_context": {"trusted_ca": {"inline_string": certificate.root}}},
    }


def by_sds(name: str) -> Fields:
    """An `SdsSecretConfig`: this secret, from Pilot, on the stream that there is."""
    # 0 s: what has no certificate yet waits for it; after a limit Envoy would go on without.
    return {"name": name, "sds_config": {
        "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {"seconds": 0}
    }}
