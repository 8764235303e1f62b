"""
Certificates for both ends, under the file names of QEMU and libvirt, signed by a CA that is made if there is none.

The server certificate has each host in its subjectAltName, as a name or an address. The client's certificate names no host where one CA is
made for two hosts: the destination checks only that its CA has signed it. Where a host is added to a CA of many, both certificates have its
names, for ``--allow``.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from nbdtun.errors import ConfigError
from nbdtun.ownership.files import make_folder
from nbdtun.tls.pki.authority import Authority, find_authority, general_name, keep_copy, named, new_authority, new_key, pair, write
from nbdtun.tls.store import CA_CERT, CA_KEY, CLIENT_CERT, CLIENT_KEY, SERVER_CERT, SERVER_KEY


@frozen
class Issued:
    """The result of :func:`make`: the files that it wrote, and whether it made a new authority."""

    directory: Path
    written: tuple[Path, ...]
    new_authority: bool
    expires: datetime.datetime


def make(
    directory: str | os.PathLike[str],
    hosts: Sequence[str],
    *,
    force: bool = False,
    ca: str | os.PathLike[str] | None = None,
    password: bytes | None = None,
) -> Issued:
    """
    Write both ends' certificates and keys into ``directory``, and an authority if it has none.

    :param hosts: the names and addresses under which the destination is reached.
    :param force: replace existing certificates of both ends; an authority is never replaced.
    :param ca: the directory of the authority, if it is another one; its key stays there.
    :param password: the passphrase of the authority's key, if it has one.
    :raise ConfigError: an invalid host, certificates that already exist, an authority that cannot sign, a file that cannot be
        written.
    """
    folder = Path(directory)
    names = [general_name(host) for host in hosts]
    if not names:
        raise ConfigError("certificates need at least one host: the name or address under which the destination is reached")
    try:
        return _make(folder, hosts[0], names, force, folder if ca is None else Path(ca), password)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from error


def _make(folder: Path, host: str, names: list[x509.GeneralName], force: bool, ca: Path, password: bytes | None) -> Issued:
    elsewhere = ca.resolve() != folder.resolve()
    authority = find_authority(ca, password)
    if elsewhere and authority is None:
        raise ConfigError(f"--ca {ca}: there is no {CA_CERT} and {CA_KEY}")
    make_folder(folder)
    if not force:
        refuse_existing(folder, SERVER_CERT, SERVER_KEY, CLIENT_CERT, CLIENT_KEY)
    if elsewhere and authority is not None:
        _refuse_another(folder, authority)
    made = authority or new_authority()
    files = {} if authority is not None else pair(CA_CERT, CA_KEY, made.certificate, made.key)
    if elsewhere:
        files[CA_CERT] = made.certificate.public_bytes(serialization.Encoding.PEM)
    files |= _ends(made, host, names, ca if elsewhere else None)
    written = tuple(write(folder / name, content) for name, content in files.items())
    return Issued(folder, written, authority is None, made.expires)


def _ends(authority: Authority, host: str, names: list[x509.GeneralName], ca: Path | None) -> dict[str, bytes]:
    """The files of both ends; copies of the certificates are kept in the directory ``ca``, if there is one."""
    hosts = x509.SubjectAlternativeName(names)
    near, near_names = (named("nbdtun client"), None) if ca is None else (named(host), hosts)
    ends = (
        (SERVER_CERT, SERVER_KEY, named(host), hosts, ExtendedKeyUsageOID.SERVER_AUTH),
        (CLIENT_CERT, CLIENT_KEY, near, near_names, ExtendedKeyUsageOID.CLIENT_AUTH),
    )
    files: dict[str, bytes] = {}
    for certificate_name, key_name, subject, its_names, purpose in ends:
        key = new_key()
        certificate = authority.sign(subject, its_names, [purpose], key.public_key())
        files |= pair(certificate_name, key_name, certificate, key)
        if ca is not None:
            keep_copy(ca, certificate)
    return files


def refuse_existing(folder: Path, *names: str) -> None:
    """Refuse to replace one of these files (:exc:`ConfigError`)."""
    for name in names:
        if os.path.lexists(folder / name):
            raise ConfigError(f"{folder / name} exists already; --force replaces the certificates of both ends and keeps the CA")


def _refuse_another(folder: Path, authority: Authority) -> None:
    """Refuse to replace another CA's certificate."""
    there = folder / CA_CERT
    if there.exists() and there.read_bytes().strip() != authority.certificate.public_bytes(serialization.Encoding.PEM).strip():
        raise ConfigError(f"{there} is that of another CA", "choose another directory")
