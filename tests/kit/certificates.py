"""A certificate authority of a test's own, and a server's certificate by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificates:
    """Three files in PEM, as text.

    Attributes:
        authority: the authority's certificate, which clients trust.
        certificate: the server's, for one host name.
        key: the server's private key.
    """

    authority: str
    certificate: str
    key: str

    @classmethod
    def make(cls, host: str) -> Certificates:
        """Return new ones for a server called *host*, good for a day."""
        signer, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = _name("liverouter tests")
        authority = (
            _builder(issuer, issuer, signer.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )
        certificate = (
            _builder(_name(host), issuer, own.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        key = own.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        pem = [each.public_bytes(Encoding.PEM).decode() for each in (authority, certificate)]
        return cls(authority=pem[0], certificate=pem[1], key=key.decode())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )
