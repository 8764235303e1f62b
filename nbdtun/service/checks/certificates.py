"""The certificates of one end, checked before they are needed."""

from __future__ import annotations

import time
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.migration.catalogue import Kind
from nbdtun.migration.check.checklist import Checklist
from nbdtun.tls.certificate import date, validity
from nbdtun.tls.files import CA_CERT

#: Seconds before its expiry from which on a certificate should be renewed.
SOON = 30 * 86400.0


def check_certificates(checklist: Checklist, kinds: tuple[Kind, Kind], directory: str, certificate: str) -> None:
    """
    Note, by ``kinds``, until when ``certificate`` and the CA in ``directory`` are valid.

    Making the context has already checked that they are valid now, and that the key belongs to the certificate.
    """
    for path in (Path(directory) / certificate, Path(directory) / CA_CERT):
        with checklist.collecting(kinds[0]):
            _check(checklist, kinds, path)


def _check(checklist: Checklist, kinds: tuple[Kind, Kind], path: Path) -> None:
    try:
        found = validity(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if found is None:
        checklist.ok(kinds[0].check, f"{path}: its expiry date cannot be read")
    elif found.end - time.time() < SOON:
        found.check(path)
        checklist.add(kinds[1](f"{path}: expires soon, on {date(found.end)}"))
    else:
        found.check(path)
        checklist.ok(kinds[0].check, f"{path}: valid until {date(found.end)}")
