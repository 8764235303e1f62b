"""From when until when the certificates of a directory are good: what every peer would say of them, told to the operator first."""

from __future__ import annotations

import time
from pathlib import Path

from attrs import frozen

from nbdtun.errors import ConfigError


@frozen
class Validity:
    """Seconds since the epoch."""

    start: float
    end: float

    def check(self, path: Path) -> None:
        """
        See that it is good now.

        :raise ConfigError: it is not; the text names ``path``.
        """
        if self.end <= time.time():
            raise ConfigError(f"{path}: expired on {date(self.end)}")
        if self.start > time.time():
            raise ConfigError(f"{path}: not valid before {date(self.start)}", "is this host's clock right?")


def validity(pem: bytes) -> Validity | None:
    """That of the first certificate in ``pem``; None for what only OpenSSL can parse, which is left to the peers."""
    from cryptography import x509  # here, because it is slow to import and needed once

    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        return None
    return Validity(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def date(when: float) -> str:
    """A time as an operator reads it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))
