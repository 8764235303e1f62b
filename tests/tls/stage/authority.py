"""An authority that makes what PKIs make: chains, purposes, and revocation lists in all shapes."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nbdtun.tls.store import CA_CERT, CA_CRL, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY

HOUR: Final = datetime.timedelta(hours=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
HERE: Final = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _pem(*each: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in each)


def _digest(key: Any) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


@frozen
class Holder:
    """A certificate, its key, and those above it that go with it."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate, *self.chain)

    def issue(
        self,
        name: str,
        *names: x509.GeneralName,
        purpose: x509.ObjectIdentifier | None = None,
        key: Any = None,
        life: datetime.timedelta = 24 * HOUR,
    ) -> Holder:
        """A certificate for an end, signed by this authority."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, key, self.certificate.subject, life)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return Holder(builder.sign(self.key, _digest(self.key)), key)

    def below(self, name: str) -> Holder:
        """An authority that this one has signed, to be presented by those whom it signs for."""
        return _authority(name, self)

    def with_chain(self, *above: Holder) -> Holder:
        return Holder(self.certificate, self.key, tuple(each.certificate for each in above))

    def revokes(
        self, *serials: int, since: datetime.timedelta = -HOUR, until: datetime.timedelta = HOUR, key: Any = None
    ) -> x509.CertificateRevocationList:
        """A list of this authority; ``key`` forges it."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now() + since).next_update(now() + until)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now() - HOUR)
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(key or self.key, _digest(key or self.key))


def authority(name: str = "CA", *, signs_lists: bool = True, key: Any = None) -> Holder:
    return _authority(name, None, signs_lists=signs_lists, key=key)


def _authority(name: str, by: Holder | None, *, signs_lists: bool = True, key: Any = None) -> Holder:
    key = key or ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    builder = _builder(name, key, by.certificate.subject if by else None).add_extension(x509.BasicConstraints(True, None), critical=True)
    builder = builder.add_extension(x509.KeyUsage(**usage, decipher_only=False, key_cert_sign=True, crl_sign=signs_lists), critical=True)
    signer = by.key if by else key
    return Holder(builder.sign(signer, _digest(signer)), key)


def _builder(name: str, key: Any, issuer: x509.Name | None, life: datetime.timedelta = 24 * HOUR) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now() - HOUR).not_valid_after(now() + life)


def write(
    directory: Path,
    trusted: Iterable[Holder],
    server: Holder,
    client: Holder,
    lists: Iterable[x509.CertificateRevocationList] = (),
) -> Path:
    """A directory of both ends, as QEMU has it."""
    directory.mkdir(exist_ok=True)
    (directory / "draft").write_bytes(_pem(*(each.certificate for each in trusted)))
    (directory / "draft").rename(directory / CA_CERT)
    for holder, certificate, key in ((server, SERVER_CERT, SERVER_KEY), (client, CLIENT_CERT, CLIENT_KEY)):
        pem = holder.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for name, content in ((key, pem), (certificate, holder.pem)):
            draft = directory / "draft"
            draft.touch(0o600)
            draft.write_bytes(content)
            draft.rename(directory / name)
    revoke(directory, *lists)
    return directory


def revoke(directory: Path, *lists: x509.CertificateRevocationList) -> None:
    """Put these lists there, at once."""
    if lists:
        (directory / "draft").write_bytes(_pem(*lists))
        (directory / "draft").rename(directory / CA_CRL)
