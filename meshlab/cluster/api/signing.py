"""Signs a certificate request with the lab's authority: `python -m meshlab.cluster.api.signing FOLDER`.

A program of its own, because `cryptography` is 12 MB that the daemon would keep for life. The request comes as JSON
on standard input: `{"request": PEM, "usages": […], "seconds": n}`; the certificate's PEM goes to standard output.
What is wrong with a request goes to standard error, with exit status 2.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Unsigned", "sign"]

#: Usages that are bits of the key usage, by the name of cryptography's argument.
BITS = {
    "digital signature": "digital_signature",
    "signing": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
}
EXTENDED = {
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}
#: The group that may do everything: nobody becomes one of it by a certificate.
MASTERS, CLIENTS = "system:masters", "kubernetes.io/kube-apiserver-client"
#: Clocks may differ by this much.
BACKDATED = timedelta(minutes=5)


class Unsigned(ValueError):
    """A request that cannot be signed; the text says why."""


def sign(folder: Path, request: bytes, usages: list[str], seconds: int) -> bytes:
    """The certificate's PEM, good for `seconds` from now. Raises Unsigned."""
    try:
        asked = x509.load_pem_x509_csr(request)
    except ValueError as error:
        raise Unsigned(f"unable to parse csr: {error}") from None
    if not asked.is_signature_valid:
        raise Unsigned("unable to verify certificate request signature")
    groups = [name.value for name in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if MASTERS in groups and "client auth" in usages:
        raise Unsigned(f"use of {CLIENTS} signer with {MASTERS} group is not allowed")
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 (we made it)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(authority.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(seconds=seconds))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    bits = {BITS[usage] for usage in usages if usage in BITS}
    if bits:
        known = {name: name in bits for name in (*BITS.values(), "encipher_only", "decipher_only")}
        builder = builder.add_extension(x509.KeyUsage(**known), critical=True)
    if extended := [EXTENDED[usage] for usage in usages if usage in EXTENDED]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    try:
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        pass  # a client's certificate has none
    else:
        builder = builder.add_extension(names.value, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def main() -> int:
    asked = json.load(sys.stdin)
    try:
        made = sign(Path(sys.argv[1]), asked["request"].encode(), asked["usages"], asked["seconds"])
    except Unsigned as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.write(made.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
