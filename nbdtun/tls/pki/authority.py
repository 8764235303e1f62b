"""
A CA that can sign, in the files ``ca-cert.pem`` and ``ca-key.pem`` of a directory.

Why this and not a recipe for ``certtool``: the usual mistakes of such recipes (a name only in the CN, a key that all users can read, a
clock that is a minute behind) all end in "handshake failed". Here:

- keys are ECDSA P-256: small, quick to sign with, and supported by GnuTLS and OpenSSL;
- the CA is valid for ten years and may sign end certificates only; these are valid for two years, never longer than their CA;
- all are valid from an hour ago, so that a host whose clock is behind accepts a fresh one.

An authority that is already in the directory is reused, never replaced. Each file appears complete, with its final name and mode, or not
at all.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from nbdtun.errors import ConfigError
from nbdtun.ownership.files import make_folder, replace_file
from nbdtun.tls.store import CA_CERT, CA_KEY

CA_LIFETIME: Final = datetime.timedelta(days=3650)
LIFETIME: Final = datetime.timedelta(days=730)
BACKDATED: Final = datetime.timedelta(hours=1)
#: Beside the files of a CA: a copy of each certificate that it has signed for another directory or a request.
ISSUED: Final = "issued"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@frozen
class Authority:
    """A CA that can sign."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def digest(self) -> hashes.SHA256 | None:
        """The digest to sign with; Ed25519 has its own."""
        return None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()

    @property
    def expires(self) -> datetime.datetime:
        """When a certificate that it signs now expires."""
        return min(_now() + LIFETIME, self.certificate.not_valid_after_utc)

    def sign(
        self, subject: x509.Name, names: x509.SubjectAlternativeName | None, purposes: list[x509.ObjectIdentifier], public_key: PublicKey
    ) -> x509.Certificate:
        """
        Sign an end certificate.

        Its key usage is not critical: libvirt refuses a critical one without keyEncipherment, which an EC key must not have.
        """
        builder = (
            _builder(subject, self.certificate.subject, public_key, self.expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(_issuer_key(self), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, self.digest)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key for a certificate."""
    return ec.generate_private_key(ec.SECP256R1())


def named(common_name: str) -> x509.Name:
    """A subject with a common name, of which X.509 takes 64 characters."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def keep_copy(folder: Path, certificate: x509.Certificate) -> None:
    """Keep a certificate that the CA in ``folder`` has signed for elsewhere, for its list."""
    make_folder(folder / ISSUED)
    write(folder / ISSUED / f"{certificate.serial_number:x}.pem", certificate.public_bytes(serialization.Encoding.PEM))


def general_name(host: str) -> x509.GeneralName:
    """
    ``host`` in a certificate's form: an address, or a name in ASCII, perhaps with a leading ``*.``.

    :raise ConfigError: it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(_ascii_name(host))


def _ascii_name(host: str) -> str:
    name = host.rstrip(".")
    try:
        name = name.encode("ascii" if name.isascii() else "idna").decode("ascii")
    except UnicodeError as error:
        raise ConfigError(f"{host!r} is neither a host name nor an IP address") from error
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):  # 300.1.1.1 was an address
        raise ConfigError(f"{host!r} is neither a host name nor an IP address")
    return name


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def find_authority(folder: Path, password: bytes | None = None) -> Authority | None:
    """
    The authority of ``folder``; None if it has none. ``password`` is that of its key, if there is one.

    :raise ConfigError: it cannot sign.
    """
    certificate, key = folder / CA_CERT, folder / CA_KEY
    if certificate.exists() and key.exists():
        return _load(certificate, key, password)
    if certificate.exists():
        raise ConfigError(f"{key}: No such file or directory; the CA in {certificate} cannot sign without it")
    if key.exists():
        raise ConfigError(f"{certificate}: No such file or directory; the CA of {key} is incomplete")
    return None


def _load(certificate_file: Path, key_file: Path, password: bytes | None) -> Authority:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{certificate_file}: not a PEM certificate") from error
    try:
        key = load_key(key_file, password)
    except ValueError as error:
        raise ConfigError(f"{key_file}: not a PEM private key") from error
    if key.public_key() != certificate.public_key():
        raise ConfigError(f"{key_file}: does not belong to {certificate_file}")
    if certificate.not_valid_after_utc <= _now():
        raise ConfigError(f"{certificate_file}: expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if not _may_sign(certificate):
        raise ConfigError(f"{certificate_file}: not a CA certificate")
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise ConfigError(f"{key_file}: not an EC, RSA or Ed25519 key")
    return Authority(certificate, key)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def load_key(path: Path, password: bytes | None) -> Any:
    """
    Read a private key.

    :raise ConfigError: it has a passphrase, which is missing or another one.
    :raise ValueError: it is none.
    """
    content = path.read_bytes()
    encrypted = b"ENCRYPTED" in content
    try:
        return serialization.load_pem_private_key(content, password if encrypted else None)
    except TypeError as error:
        raise ConfigError(f"{path}: protected by a passphrase", "give the file with it as --ca-password-file") from error
    except ValueError as error:
        if encrypted:
            raise ConfigError(f"{path}: the passphrase does not open it") from error
        raise


def new_authority() -> Authority:
    """Make one; nothing is written."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"nbdtun CA {os.urandom(4).hex()}")])
    builder = (
        _builder(name, name, key.public_key(), _now() + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, public_key: PublicKey, expires: datetime.datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - BACKDATED)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _issuer_key(authority: Authority) -> x509.AuthorityKeyIdentifier:
    """The issuer's key as the issuer itself names it, which need not be the usual digest."""
    try:
        own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def pair(certificate_name: str, key_name: str, certificate: x509.Certificate, key: PrivateKey) -> dict[str, bytes]:
    """Both files of one identity; the key first, so that a certificate is never without its key."""
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {key_name: private, certificate_name: certificate.public_bytes(serialization.Encoding.PEM)}


def write(path: Path, content: bytes) -> Path:
    """Put a file in its place at once, a key for its owner alone."""
    replace_file(path, content, 0o600 if path.name.endswith("-key.pem") else 0o644)
    return path
