"""The certificates of one end, checked before they are needed."""

from __future__ import annotations

import time
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.migration.check.checklist import Checklist
from nbdtun.tls.certificate import date, validity
from nbdtun.tls.files import CA_CERT

#: Seconds before its expiry from which on a certificate should be renewed.
SOON = 30 * 86400.0

_RENEW = "renew it, as `nbdtun certs DIR --host NAME --force` does"


def check_certificates(checklist: Checklist, check: str, directory: str, certificate: str) -> None:
    """
    Note until when ``certificate`` and the CA in ``directory`` are valid.

    Making the context has already checked that they are valid now, and that the key belongs to the certificate.
    """
    for path in (Path(directory) / certificate, Path(directory) / CA_CERT):
        with checklist.collecting(check):
            _check(checklist, check, path)


def _check(checklist: Checklist, check: str, path: Path) -> None:
    try:
        found = validity(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if found is None:
        checklist.ok(check, f"{path}: its expiry date cannot be read")
    elif found.end - time.time() < SOON:
        found.check(path)
        checklist.warn(check, f"{path}: expires soon, on {date(found.end)}", _RENEW)
    else:
        found.check(path)
        checklist.ok(check, f"{path}: valid until {date(found.end)}")
