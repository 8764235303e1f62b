"""
The files of TLS, as they are read. Reading them names each file that is missing, damaged, expired, or open to others.

Each file is read once, and OpenSSL is given what was read, from memory. So a key stays loaded when its file can no longer be read
(twistd has ``--uid``), each file is renewed by itself, and an error names its file, which OpenSSL's errors do not.
"""

from __future__ import annotations

import os
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from nbdtun.errors import ConfigError
from nbdtun.ownership.given import check_directory, is_there
from nbdtun.tls.certificate import date, validity
from nbdtun.tls.store import CA_CERT, CLIENT_CERT, SERVER_CERT, Store

_FOREIGN = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


@frozen
class Authorities:
    """The CAs to trust, as read from ``path``."""

    path: Path
    pem: bytes

    @classmethod
    def read(cls, store: Store) -> Authorities:
        """
        Read them, and check that one at least has not expired.

        :raise ConfigError: the file is missing, unreadable, not what its name says, or expired; the text names it.
        """
        check_directory(store.directory, "--tls-dir")
        path = store / CA_CERT
        found = cls(path, read_pem(path, "CERTIFICATE-----", "certificate"))
        scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.load(scratch)
        ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in scratch.get_ca_certs()]
        if ends and max(ends) <= time.time():
            raise ConfigError(f"{path}: expired on {date(max(ends))}")
        return found

    def load(self, context: ssl.SSLContext) -> None:
        """Let ``context`` trust them."""
        with _in_memory(self.pem) as file:
            try:
                context.load_verify_locations(cafile=file)
            except ssl.SSLError as error:
                raise ConfigError(f"{self.path}: damaged certificate ({in_words(error)})") from error


@frozen
class Identity:
    """A certificate to present, with its chain, and its key, as read from two files; and the key's passphrase, from a third."""

    certificate: Path
    key: Path
    chain: bytes
    secret: bytes = field(repr=False)
    passphrase: bytes | None = field(default=None, repr=False)
    password: Path | None = None

    @classmethod
    def read(cls, store: Store, certificate: str, key: str) -> Identity:
        """
        Read the files, and check that they fit together and are valid now.

        :raise ConfigError: a file is missing, unreadable, not what its name says, expired, or a key that others can read.
        """
        _refuse_the_other_ends(store, certificate, key)
        chain = read_pem(store / certificate, "CERTIFICATE-----", "certificate")
        secret = read_pem(store / key, "PRIVATE KEY-----", "private key", secret=True)
        passphrase = None if store.password is None else read_passphrase(store.password)
        found = cls(store / certificate, store / key, chain, secret, passphrase, store.password)
        found.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        valid = validity(chain)
        if valid is not None:  # an outdated one is refused now; otherwise each peer would refuse it later
            valid.check(found.certificate)
        return found

    def load(self, context: ssl.SSLContext) -> None:
        """Let ``context`` present it."""

        def passphrase() -> bytes:
            if self.passphrase is None:
                raise ConfigError(f"{self.key}: protected by a passphrase", "give the file with it as --tls-password-file")
            return self.passphrase

        with _in_memory(self.chain) as certificate, _in_memory(self.secret) as key:
            try:
                context.load_cert_chain(certificate, key, password=passphrase)
            except ssl.SSLError as error:
                raise ConfigError(self._unusable(certificate, error)) from error

    def _unusable(self, certificate: str, error: ssl.SSLError) -> str:
        if self.password is not None and _is_encrypted(self.secret):
            return f"{self.key}: the passphrase in {self.password} does not open it"
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):  # the last: one is RSA, the other EC
            return f"{self.key}: does not belong to {self.certificate}"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=certificate)
        except ssl.SSLError as damage:
            return f"{self.certificate}: damaged certificate ({in_words(damage)})"
        if error.reason and error.reason.startswith("EE_"):  # EE_KEY_TOO_SMALL: what the certificate certifies is too weak
            return f"{self.certificate}: refused by OpenSSL ({in_words(error)})"
        return f"{self.key}: damaged private key ({in_words(error)})"


def _is_encrypted(key: bytes) -> bool:
    return b"BEGIN ENCRYPTED PRIVATE KEY" in key or b"Proc-Type: 4,ENCRYPTED" in key


def read_passphrase(path: Path) -> bytes:
    """
    Read the first line of a file that others cannot read.

    :raise ConfigError: that cannot be, or others can read it.
    """
    content = _read(path, "passphrase", secret=True)
    return content.partition(b"\n")[0].rstrip(b"\r")


def _refuse_the_other_ends(store: Store, certificate: str, key: str) -> None:
    """The two ends' directories are easily mixed up."""
    other, ours = ("the destination", "the source") if certificate == CLIENT_CERT else ("the source", "the destination")
    if not is_there(store / certificate) and is_there(store / (SERVER_CERT if certificate == CLIENT_CERT else CLIENT_CERT)):
        authority, own, secret = ((store / name).name for name in (CA_CERT, certificate, key))
        what = f"--tls-dir {store.directory}: it has the certificate of {other}, and no {own}"
        raise ConfigError(what, f"{ours} needs {authority}, {own} and {secret}")


def read_pem(path: Path, marker: str, noun: str, *, secret: bool = False) -> bytes:
    """
    Read a file that has ``marker`` in it. Others must not be able to read a ``secret`` one.

    :raise ConfigError: that cannot be, or it has none, or others can; the text names it.
    """
    content = _read(path, noun, secret=secret)
    if b"-----BEGIN " not in content or marker.encode() not in content:
        raise ConfigError(f"{path}: not a PEM {noun}")
    return content


def _read(path: Path, noun: str, *, secret: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if secret:
                _refuse_open(path, noun, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _refuse_open(path: Path, noun: str, found: os.stat_result) -> None:
    """As PostgreSQL does: a key of root's may be readable for one group, such as ``qemu`` or ``ssl-cert``."""
    forbidden = _FOREIGN | (0 if found.st_uid == 0 else stat.S_IRGRP)
    if stat.S_ISREG(found.st_mode) and found.st_mode & forbidden:
        remedy = f"chmod {stat.S_IMODE(found.st_mode) & ~forbidden:o} {path}, and replace it if they may have read it"
        raise ConfigError(f"{path}: a {noun} that other users can read or change (mode {stat.S_IMODE(found.st_mode):o})", remedy)


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file without a name that has ``content``: OpenSSL takes keys from files only."""
    descriptor = os.memfd_create("nbdtun")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def in_words(error: ssl.SSLError) -> str:
    """OpenSSL's name for ``error``, as words; not every error has one, or the attribute."""
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
