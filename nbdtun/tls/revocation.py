"""
Revocation lists, read as GnuTLS reads them, so that QEMU and nbdtun give one verdict on a certificate.

A list holds for the certificates that its issuer's name has signed, anywhere in a chain; a CA without a list has revoked nothing. Neither
the CA's right to sign lists nor a list's age or signature matters: the operator has put the file there, and no fault of it makes it say
less. (OpenSSL demands a list of each CA, in time, of a CA with ``crl_signing_key``. QEMU's own documentation makes a CA without that.)

It fails closed. A revocation stays in force while the process lives, whatever a later list says. A list that was there and is gone, damaged
or unreadable leaves it open what else was revoked: nobody is trusted until it is back.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nbdtun.errors import ConfigError, TLSError
from nbdtun.logs import make_logger
from nbdtun.tls.certificate import Validity, date
from nbdtun.tls.files import read_pem

if TYPE_CHECKING:
    from cryptography import x509

_BEGIN = b"-----BEGIN X509 CRL-----"
_LISTS = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


class Revocations:
    """
    The revocations in the file ``path``, which need not exist.

    :raise ConfigError: it cannot be read, at the start.
    """

    log = make_logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._revoked: set[tuple[bytes, int]] = set()  # the issuer's name, and the serial number
        self._trouble = ""
        self._there = False
        self.revision = 0  #: counts the changes that were noticed
        self._stamp = stamp(path)
        self._read()

    def __repr__(self) -> str:
        return f"<Revocations of {len(self._revoked)} in {self._path}{f': {self._trouble}' if self._trouble else ''}>"

    def inherit(self, before: Revocations) -> None:
        """What another file has revoked stays revoked."""
        self._revoked |= before._revoked

    def look(self) -> None:
        """Read the file again if it has changed."""
        seen = stamp(self._path)
        if seen == self._stamp:
            return
        self._stamp = seen
        self.revision += 1
        try:
            self._read()
        except ConfigError as error:
            self._trouble = str(error)
            self.log.error("{trouble}; until it can be read, no link is made, as certificates may be revoked", trouble=self._trouble)

    def check(self, chain: tuple[bytes, ...], peer: str, whose: str) -> None:
        """
        Check the certificate ``chain`` of ``peer``; ``whose`` list this is stands in the error, as it is told to both ends.

        :raise TLSError: one of them is revoked, or it is unknown whether one is.
        """
        if self._trouble:
            raise TLSError(f"{peer}: it is unknown whether its certificate is revoked: {whose}'s {self._trouble}")
        self.check_known(chain, peer, whose)

    def check_known(self, chain: tuple[bytes, ...], peer: str, whose: str) -> None:
        """
        The same for a link that stands: it goes on while the list cannot be read.

        :raise TLSError: one of them is revoked, or cannot be parsed while others are.
        """
        if not self._revoked:
            return
        for place, der in enumerate(chain):
            try:
                revoked = _key(der) in self._revoked
            except Exception as error:  # as in certificate.names_of; OpenSSL takes more than cryptography does
                raise TLSError(f"{peer}: it is unknown whether its certificate is revoked: its chain cannot be parsed") from error
            if revoked:
                what = "its certificate has been revoked" if not place else "the certificate of its CA has been revoked"
                raise TLSError(f"{peer}: {what}, says {whose}'s {self._path.name}")

    def _read(self) -> None:
        if self._stamp is None and not self._there:
            return
        self._there = True
        lists = list(read_lists(self._path))
        for each in lists:
            issuer = each.issuer.public_bytes()
            self._revoked.update((issuer, entry.serial_number) for entry in each)
        self._trouble = ""
        self.log.info("{path}: {count} certificates are revoked", path=self._path, count=len(self._revoked))
        current = currency(lists)
        if current is not None and current.end < time.time():
            self.log.warn("{path}: out of date since {when}, and still obeyed", path=self._path, when=date(current.end))


def _key(der: bytes) -> tuple[bytes, int]:
    from cryptography import x509  # here, because it is slow to import, and needed only where there is a list

    certificate = x509.load_der_x509_certificate(der)
    return certificate.issuer.public_bytes(), certificate.serial_number


def read_lists(path: Path) -> Iterator[x509.CertificateRevocationList]:
    """
    Read the revocation lists in ``path``.

    :raise ConfigError: it has none, or one is damaged; the text names the file.
    """
    from cryptography import x509

    content = read_pem(path, _BEGIN.decode(), "revocation list")
    found = _LISTS.findall(content)
    if len(found) != content.count(_BEGIN):  # one has no end: it may have been cut off
        raise ConfigError(f"{path}: damaged revocation list")
    for pem in found:
        try:
            yield x509.load_pem_x509_crl(pem)
        except Exception as error:  # it has several of its own for DER that is not what it should be
            raise ConfigError(f"{path}: damaged revocation list") from error


def currency(lists: Iterable[x509.CertificateRevocationList]) -> Validity | None:
    """
    The time for which all the lists are up to date, by the one that is so for the shortest; None if none has to be replaced.

    Where a CA has several, the newest counts.
    """
    newest: dict[bytes, Validity] = {}
    for each in lists:
        start, end = each.last_update_utc.timestamp(), each.next_update_utc
        issuer, found = each.issuer.public_bytes(), Validity(start, math.inf if end is None else end.timestamp())
        newest[issuer] = max(newest.get(issuer, found), found, key=lambda validity: validity.end)
    soonest = min(newest.values(), key=lambda validity: validity.end, default=None)
    return None if soonest is None or math.isinf(soonest.end) else soonest


def stamp(path: Path) -> object:
    """A value that changes with the file; None if there is none. A file that cannot be looked for may be there."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
