"""Rules of CertificateSigningRequests."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from meshlab.cluster.api import formats
from meshlab.cluster.api.causes import Cause, duplicate, invalid, required, unsupported
from meshlab.cluster.api.validate_meta import immutable

__all__ = ["request"]

Object = Mapping[str, Any]

USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
PEM = re.compile(rb"\A\s*-----BEGIN ([A-Z ]+)-----\s.*?-----END \1-----\s*\Z", re.S)
LEGACY = "kubernetes.io/legacy-unknown"
#: Seconds.
SHORTEST = 600


def request(obj: Object, old: Object | None) -> list[Cause]:
    """A CertificateSigningRequest; what is asked for does not change."""
    spec = obj.get("spec") or {}
    if old is not None:
        return immutable("spec", spec, old.get("spec") or {})
    causes = [*_pem(str(spec.get("request") or ""))]
    usages = list(spec.get("usages") or ())
    if not usages:
        causes.append(required("spec.usages", "usages must contain at least one usage"))
    for i, usage in enumerate(usages):
        if usage not in USAGES:
            causes.append(unsupported(f"spec.usages[{i}]", usage, USAGES))
        if usage in usages[:i]:
            causes.append(duplicate(f"spec.usages[{i}]", usage))
    signer = str(spec.get("signerName") or "")
    if signer == LEGACY:
        causes.append(invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version"))
    else:
        causes += _signer(signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < SHORTEST:
        why = f"may not specify a duration less than {SHORTEST} seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, why))
    return causes


def _pem(text: str) -> list[Cause]:
    try:
        found = PEM.match(base64.b64decode(text))
    except ValueError:
        found = None
    if found is None or found[1] != b"CERTIFICATE REQUEST":
        return [invalid("spec.request", text, "PEM block type must be CERTIFICATE REQUEST")]
    return []


def _signer(name: str) -> list[Cause]:
    here = "spec.signerName"
    if not name:
        return [required(here)]
    domain, slash, path = name.partition("/")
    if not slash or "/" in path:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(here, name, why)]
    causes = [invalid(here, domain, why) for why in formats.dns_subdomain(domain)]
    if not causes and "." not in domain:
        causes.append(invalid(here, domain, "should be a domain with at least two segments separated by dots"))
    return causes + [invalid(here, path, why) for why in formats.dns_subdomain(path)]
