"""Keys and certificates of the mesh: pure functions, and a process that runs them.

The CA itself lives as long as the mesh and signs for a few milliseconds an hour, so the library that signs is
loaded by a process of its own (`Signer`) and gone with it: 12 MB that the CA need not keep.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["CA_LIFETIME", "CERTIFICATE_LIFETIME", "ORGANISATION", "Order", "Pair", "Signer", "issue", "root"]

#: Seconds; those of istio-ca 0.4.0.
CA_LIFETIME, CERTIFICATE_LIFETIME = 365 * 86_400, 3_600
ORGANISATION = "k8s.cluster.local"
#: A certificate is valid from a little before now: clocks differ.
BACKDATED = 60
#: Seconds a batch of signatures may take.
PATIENCE = 60.0


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: str
    key: str


@dataclass(frozen=True)
class Order:
    """Certificates wanted from a CA; without a CA (`ca` None) a CA itself."""

    ca: Pair | None
    #: URIs, `spiffe://cluster.local/ns/<namespace>/sa/<account>`.
    identities: tuple[str, ...] = ()
    lifetime: float = CERTIFICATE_LIFETIME
    #: Identity → DNS names by which it is known as well: those of programs that serve others than proxies.
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def root(lifetime: float = CA_LIFETIME) -> Pair:
    """A self-signed CA."""
    from cryptography import x509

    return _signed(None, x509.Name([_name("ORGANIZATION_NAME", ORGANISATION)]), (), lifetime)


def issue(ca: Pair, identity: str, lifetime: float = CERTIFICATE_LIFETIME, names: Sequence[str] = ()) -> Pair:
    """A certificate for both ends of mutual TLS whose subject is the URI `identity`, and these DNS names if any."""
    from cryptography import x509

    return _signed(ca, x509.Name([]), (identity, *names), lifetime)


def _name(kind: str, value: str):  # type: ignore[no-untyped-def]
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.NameAttribute(getattr(NameOID, kind), value)


def _signed(ca: Pair | None, subject, alternatives: Sequence[str], lifetime: float) -> Pair:  # type: ignore[no-untyped-def]
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    own = ca is None
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATED))
        .not_valid_after(now + timedelta(seconds=lifetime))
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not own, key_encipherment=not own, key_cert_sign=own, crl_sign=own, **usage
            ),
            critical=True,
        )
    )
    if ca is None:
        certificate = builder.issuer_name(subject).sign(key, hashes.SHA256())
    else:
        issuer = x509.load_pem_x509_certificate(ca.certificate.encode())
        signing = serialization.load_pem_private_key(ca.key.encode(), password=None)
        certificate = (
            builder.issuer_name(issuer.subject)
            .add_extension(x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ), critical=False)
            # Without a subject the alternative name is all there is, hence critical (RFC 5280, 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([
                x509.UniformResourceIdentifier(each) if "://" in each else x509.DNSName(each) for each in alternatives
            ]), critical=True)
            # Python 3.13 and later believe nobody without it.
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False  # type: ignore[arg-type]
            )
            .sign(signing, hashes.SHA256())  # type: ignore[arg-type]
        )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


def expires(certificate: str) -> float:
    """When a PEM certificate ends, seconds since 1970."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()


class Signer:
    """Signs in a process of its own."""

    def sign(self, order: Order) -> list[Pair]:
        """One pair per identity, or the new CA. Raises CalledProcessError, TimeoutExpired."""
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=json.dumps(asdict(order)), capture_output=True, text=True,
            check=True, timeout=PATIENCE,
        )
        return [Pair(**each) for each in json.loads(done.stdout)]

    def expiries(self, certificates: Sequence[str]) -> list[float]:
        """When PEM certificates end."""
        done = subprocess.run(
            [sys.executable, "-m", __name__, "expires"], input=json.dumps(list(certificates)),
            capture_output=True, text=True, check=True, timeout=PATIENCE,
        )
        return [float(each) for each in json.loads(done.stdout)]


def _main(arguments: Sequence[str]) -> None:
    asked = json.load(sys.stdin)
    if arguments:
        json.dump([expires(each) for each in asked], sys.stdout)
        return
    ca = Pair(**asked["ca"]) if asked["ca"] else None
    lifetime, names = asked["lifetime"], asked["names"]
    pairs = [issue(ca, each, lifetime, names.get(each, ())) for each in asked["identities"]] if ca else [root()]
    json.dump([asdict(each) for each in pairs], sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1:])
