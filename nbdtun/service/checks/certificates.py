"""The certificates of one end, looked at before they are needed."""

from __future__ import annotations

import time
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.migration.check.checklist import Checklist
from nbdtun.tls.certificate import date, validity
from nbdtun.tls.files import CA_CERT

SOON = 30 * 86400.0
"""Seconds before its end in which a certificate is to be renewed."""

_RENEW = "renew it in time; `nbdtun certs DIR --host NAME --force` does"


def check_certificates(checklist: Checklist, check: str, directory: str, certificate: str) -> None:
    """
    Note until when ``certificate`` and the CA in ``directory`` are good.

    That they are good now, and that the key belongs to the certificate, was seen when the context was made.
    """
    for path in (Path(directory) / certificate, Path(directory) / CA_CERT):
        with checklist.collecting(check):
            _look(checklist, check, path)


def _look(checklist: Checklist, check: str, path: Path) -> None:
    try:
        found = validity(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if found is None:
        checklist.ok(check, f"{path}: until when it is valid cannot be read")
    elif found.end - time.time() < SOON:
        found.check(path)
        checklist.warn(check, f"{path}: expires soon, on {date(found.end)}", _RENEW)
    else:
        found.check(path)
        checklist.ok(check, f"{path}: valid until {date(found.end)}")
