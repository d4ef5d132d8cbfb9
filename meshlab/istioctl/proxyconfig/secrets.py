"""`proxy-config secret`: certificates that a proxy holds, and until when."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from meshlab.istioctl.proxyconfig.columns import columns
from meshlab.sidecars.dump import ConfigDump

__all__ = ["secret_table"]

Fields = dict[str, Any]
HEADING = ["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"]


def secret_table(dump: ConfigDump, *, named: bool = False, now: datetime | None = None) -> str:
    """Warming ones first. Trust domains are shown where every certificate names one."""
    found = [_row(state, each, now or datetime.now(UTC)) for state, each in dump.secrets()]
    if not found:
        return "No active or warming secrets found.\n"
    mark = "secret/" if named else ""
    domains = all(domain for _, domain in found)
    heading = [*HEADING, "TRUST DOMAIN"] if domains else HEADING
    rows = [[mark + row[0], *row[1:], *([domain] if domains else [])] for row, domain in found]
    # Envoy holds a secret once for each place that it comes from.
    return columns([heading, *dict.fromkeys(map(tuple, rows))])


def _row(state: str, secret: Fields, now: datetime) -> tuple[list[str], str]:
    if state == "ACTIVE" and secret.get("version_info") == "uninitialized":
        state = "UNINITIALIZED"
    name, pem = str(secret.get("name", "")), _pem(secret.get("secret") or {})
    if not pem:
        return [name, "", state, "false", "", "", ""], ""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return [name, "", state, "false", "", "", ""], ""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [
        name,
        "CA" if _is_authority(certificate) else "Cert Chain",
        state,
        str(begin < now < end).lower(),
        f"{certificate.serial_number:032x}",
        _time(end),
        _time(begin),
    ], _trust_domain(certificate)


def _pem(secret: Fields) -> bytes:
    """A certificate chain, or the authorities that are trusted."""
    chain = (secret.get("tls_certificate") or {}).get("certificate_chain") or {}
    context = secret.get("validation_context") or {}
    for data in (chain, context.get("trusted_ca") or {}):
        if data.get("inline_bytes"):
            return base64.b64decode(data["inline_bytes"])
        if data.get("inline_string"):
            return str(data["inline_string"]).encode()
    return b""


def _is_authority(certificate: Any) -> bool:
    from cryptography import x509

    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _trust_domain(certificate: Any) -> str:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.startswith("spiffe://"):
            return str(uri.removeprefix("spiffe://").partition("/")[0])
    return ""


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
