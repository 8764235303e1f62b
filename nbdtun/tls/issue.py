"""
A certificate authority and the certificates of both ends, under the file names of QEMU and libvirt.

Why this and not a recipe for ``certtool``: the usual mistakes of such recipes (a name only in the CN, a key that all users can read, a
clock that is a minute behind) all end in "handshake failed". Here:

- keys are ECDSA P-256: small, quick to sign with, and supported by GnuTLS and OpenSSL;
- the CA is valid for ten years and may sign end certificates only; these are valid for two years, never longer than their CA;
- all are valid from an hour ago, so that a host whose clock is behind accepts a fresh one;
- the server certificate has each host in its subjectAltName, as a name or an address; the client's certificate names no host, because
  the destination checks only that its CA signed it.

An authority that is already in the directory is reused, never replaced. Each file appears complete, with its final name and mode, or not
at all.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nbdtun.errors import ConfigError
from nbdtun.ownership.files import make_folder, replace_file
from nbdtun.tls.files import CA_CERT, CA_KEY, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY

CA_LIFETIME = datetime.timedelta(days=3650)
LIFETIME = datetime.timedelta(days=730)
BACKDATED = datetime.timedelta(hours=1)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@frozen
class Issued:
    """The result of :func:`make`: the files that it wrote, and whether it made a new authority."""

    directory: Path
    written: tuple[Path, ...]
    new_authority: bool
    expires: datetime.datetime


@frozen
class _Authority:
    """A CA that can sign."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def digest(self) -> hashes.SHA256 | None:
        """The digest to sign with; Ed25519 has its own."""
        return None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def make(directory: str | os.PathLike[str], hosts: Sequence[str], *, force: bool = False) -> Issued:
    """
    Write both ends' certificates and keys into ``directory``, and an authority if it has none.

    :param hosts: the names and addresses under which the destination is reached.
    :param force: replace existing certificates of both ends; an authority is never replaced.
    :raise ConfigError: an invalid host, certificates that already exist, an authority that cannot sign, a file that cannot be
        written.
    """
    folder = Path(directory)
    names = [_general_name(host) for host in hosts]
    if not names:
        raise ConfigError("certificates need at least one host: the name or address under which the destination is reached")
    try:
        return _make(folder, hosts[0], names, force)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from error


def _make(folder: Path, common_name: str, names: list[x509.GeneralName], force: bool) -> Issued:
    make_folder(folder)
    if not force:
        _refuse_existing(folder)
    authority, authority_files = _authority(folder)
    expires = min(_now() + LIFETIME, authority.certificate.not_valid_after_utc)
    server = _issue(authority, common_name, x509.SubjectAlternativeName(names), ExtendedKeyUsageOID.SERVER_AUTH, expires)
    client = _issue(authority, "nbdtun client", None, ExtendedKeyUsageOID.CLIENT_AUTH, expires)
    files = {**authority_files, **_pair(SERVER_CERT, SERVER_KEY, *server), **_pair(CLIENT_CERT, CLIENT_KEY, *client)}
    written = tuple(_write(folder / name, content) for name, content in files.items())
    return Issued(folder, written, bool(authority_files), expires)


def _refuse_existing(folder: Path) -> None:
    for name in (SERVER_CERT, SERVER_KEY, CLIENT_CERT, CLIENT_KEY):
        if os.path.lexists(folder / name):
            raise ConfigError(f"{folder / name} exists already; --force replaces the certificates of both ends and keeps the CA")


def _general_name(host: str) -> x509.GeneralName:
    """``host`` in a certificate's form: an address, or a name in ASCII, perhaps with a leading ``*.``."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(_ascii_name(host))


def _ascii_name(host: str) -> str:
    name = host.rstrip(".")
    try:
        name = name.encode("ascii" if name.isascii() else "idna").decode("ascii")
    except UnicodeError as error:
        raise ConfigError(f"{host!r} is not a host name: {error}") from error
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(f"{host!r} is neither a host name nor an IP address")
    return name


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _authority(folder: Path) -> tuple[_Authority, dict[str, bytes]]:
    """The authority of ``folder``, and the files to write if it is new."""
    certificate, key = folder / CA_CERT, folder / CA_KEY
    if certificate.exists() and key.exists():
        return _load_authority(certificate, key), {}
    if certificate.exists():
        raise ConfigError(f"{key}: No such file or directory; the CA in {certificate} cannot sign without it")
    if key.exists():
        raise ConfigError(f"{certificate}: No such file or directory; the CA of {key} is incomplete")
    authority = _new_authority()
    return authority, _pair(CA_CERT, CA_KEY, authority.certificate, authority.key)


def _load_authority(certificate_file: Path, key_file: Path) -> _Authority:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{certificate_file}: not a PEM certificate") from error
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except TypeError as error:
        raise ConfigError(f"{key_file}: protected by a passphrase; use a key without one") from error
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
    return _Authority(certificate, key)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _new_authority() -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"nbdtun CA {os.urandom(4).hex()}")])
    builder = (
        _builder(name, name, key.public_key(), _now() + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return _Authority(builder.sign(key, hashes.SHA256()), key)


def _issue(
    authority: _Authority,
    common_name: str,
    names: x509.SubjectAlternativeName | None,
    purpose: x509.ObjectIdentifier,
    expires: datetime.datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """
    An end certificate for one purpose, and its key.

    Its key usage is not critical: libvirt refuses a critical one without keyEncipherment, which an EC key must not have.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    issuer = authority.certificate
    builder = (
        _builder(subject, issuer.subject, key.public_key(), expires)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=False)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_issuer_key(authority), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority.key, authority.digest), key


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, expires: datetime.datetime
) -> x509.CertificateBuilder:
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


def _issuer_key(authority: _Authority) -> x509.AuthorityKeyIdentifier:
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


def _pair(certificate_name: str, key_name: str, certificate: x509.Certificate, key: PrivateKey) -> dict[str, bytes]:
    """Both files of one identity; the key first, so that a certificate is never without its key."""
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {key_name: private, certificate_name: certificate.public_bytes(serialization.Encoding.PEM)}


def _write(path: Path, content: bytes) -> Path:
    replace_file(path, content, 0o600 if path.name.endswith("-key.pem") else 0o644)
    return path
