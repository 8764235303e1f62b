"""
Requests: a host makes its keys, which never leave it, and a CA elsewhere signs what it asks for.

A request has the names and the purpose that its certificate is to have. Nothing else of it is taken over: a request cannot make a CA.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from nbdtun.errors import ConfigError
from nbdtun.ownership.files import make_folder
from nbdtun.tls.pki.authority import PublicKey, find_authority, general_name, keep_copy, named, new_key, write
from nbdtun.tls.store import CA_CERT, CA_KEY, CLIENT_KEY, SERVER_KEY

SERVER_REQ, CLIENT_REQ = "server-req.pem", "client-req.pem"
#: The ends of the tunnel, and what their certificates are for.
PURPOSES: Final = {"dest": ExtendedKeyUsageOID.SERVER_AUTH, "source": ExtendedKeyUsageOID.CLIENT_AUTH}
#: Names that a request may have; others mean nothing to nbdtun, QEMU and libvirt.
_NAMES: Final = (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier, x509.RFC822Name)


@frozen
class Signed:
    """A certificate that was made of a request: its file, subject, names, the ends that it is for, and when it expires."""

    path: Path
    subject: str
    names: tuple[str, ...]
    ends: tuple[str, ...]
    expires: datetime.datetime


def make_requests(directory: str | os.PathLike[str], hosts: Sequence[str], *, force: bool = False) -> tuple[Path, ...]:
    """
    Write a key and a request for each end into ``directory``; return the files of the requests.

    :raise ConfigError: an invalid host, files that already exist, one that cannot be written.
    """
    folder, names = Path(directory), x509.SubjectAlternativeName([general_name(host) for host in hosts])
    made: list[Path] = []
    try:
        make_folder(folder)
        for key_name, request_name, end in ((SERVER_KEY, SERVER_REQ, "dest"), (CLIENT_KEY, CLIENT_REQ, "source")):
            if os.path.lexists(folder / key_name) and not force:
                raise ConfigError(f"{folder / key_name} exists already; --force replaces the keys of both ends")
            key = new_key()
            request = (
                x509.CertificateSigningRequestBuilder()
                .subject_name(named(hosts[0]))
                .add_extension(names, critical=False)
                .add_extension(x509.ExtendedKeyUsage([PURPOSES[end]]), critical=False)
                .sign(key, hashes.SHA256())
            )
            secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            write(folder / key_name, secret)
            made.append(write(folder / request_name, request.public_bytes(serialization.Encoding.PEM)))
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from error
    return tuple(made)


def sign_request(
    ca: str | os.PathLike[str],
    request: str | os.PathLike[str],
    *,
    hosts: Sequence[str] = (),
    end: str | None = None,
    force: bool = False,
    password: bytes | None = None,
) -> Signed:
    """
    Let the CA in the directory ``ca`` sign the file ``request``; the certificate is written beside it.

    :param hosts: the names that the certificate is to have, in the place of those in the request.
    :param end: ``dest`` or ``source``, for a request that does not say what it is for.
    :raise ConfigError: it is no request, asks for what cannot be, or the CA cannot sign.
    """
    folder, path = Path(ca), Path(request)
    try:
        authority = find_authority(folder, password)
        if authority is None:
            raise ConfigError(f"{folder}: there is no {CA_CERT} and {CA_KEY}")
        found, key = _read(path)
        names = _names(path, found, hosts)
        purposes = _purposes(path, found, end)
        target = path.with_name(f"{path.name.removesuffix('.csr').removesuffix('.pem').removesuffix('-req')}-cert.pem")
        if os.path.lexists(target) and not force:
            raise ConfigError(f"{target} exists already; --force replaces it")
        if names is None and PURPOSES["dest"] in purposes:
            raise ConfigError(f"{path}: a destination's certificate needs a name", "give it as --host")
        certificate = authority.sign(found.subject, names, purposes, key)
        write(target, certificate.public_bytes(serialization.Encoding.PEM))
        keep_copy(folder, certificate)
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from error
    told = () if names is None else tuple(f"{each.value}" for each in names)
    ends = tuple(name for name, purpose in PURPOSES.items() if purpose in purposes)
    return Signed(target, found.subject.rfc4514_string(), told, ends, authority.expires)


def _read(path: Path) -> tuple[x509.CertificateSigningRequest, PublicKey]:
    try:
        found = x509.load_pem_x509_csr(path.read_bytes())
        valid, key = found.is_signature_valid, found.public_key()
    except ValueError as error:
        raise ConfigError(f"{path}: not a PEM certificate request") from error
    if not valid:
        raise ConfigError(f"{path}: damaged certificate request: its signature is not that of its key")
    weak = isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048
    if weak or not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        raise ConfigError(f"{path}: its key is not an EC or Ed25519 key, or an RSA key of 2048 bits or more")
    return found, key


def _names(path: Path, found: x509.CertificateSigningRequest, hosts: Sequence[str]) -> x509.SubjectAlternativeName | None:
    if hosts:
        return x509.SubjectAlternativeName([general_name(host) for host in hosts])
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    if odd := [each for each in names if not isinstance(each, _NAMES)]:
        raise ConfigError(f"{path}: it asks for a name of another kind ({type(odd[0]).__name__})", "give its names as --host")
    return names


def _purposes(path: Path, found: x509.CertificateSigningRequest, end: str | None) -> list[x509.ObjectIdentifier]:
    try:
        asked = list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        asked = []
    wanted = [PURPOSES[end]] if end is not None else [each for each in asked if each in PURPOSES.values()]
    if not wanted:
        raise ConfigError(f"{path}: it does not say what its certificate is for", "give --for dest or --for source")
    return wanted
