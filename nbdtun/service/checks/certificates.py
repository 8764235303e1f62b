"""The certificates and revocation lists of one end, checked before they are needed."""

from __future__ import annotations

import time
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.migration.catalogue import Kind
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Check
from nbdtun.tls.certificate import date, validity
from nbdtun.tls.revocation import currency, read_lists, stamp
from nbdtun.tls.store import CA_CERT, CA_CRL, Store

#: Seconds before its expiry from which on a certificate should be renewed.
SOON = 30 * 86400.0

#: The most seconds before its end from which on a revocation list should be replaced; many are made for a day or a week.
LIST_SOON = 86400.0

#: The part of a revocation list's life that is left then, if that is less.
LIST_REST = 1 / 3


def check_certificates(checklist: Checklist, kinds: tuple[Kind, Kind, Kind], store: Store, certificate: str) -> None:
    """
    Note, by ``kinds``, until when ``certificate``, the CA and the revocation lists in ``store`` are valid.

    Making the context has already checked that they are valid now, and that the key belongs to the certificate.
    """
    for path in (store / certificate, store / CA_CERT):
        with checklist.collecting(kinds[0]):
            _check(checklist, kinds, path)
    lists = store / CA_CRL
    if stamp(lists) is not None:
        with checklist.collecting(kinds[0]):
            _check_lists(checklist, kinds, lists)


def _check(checklist: Checklist, kinds: tuple[Kind, Kind, Kind], path: Path) -> None:
    try:
        found = validity(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if found is None:
        checklist.ok(kinds[0].check, f"{path}: its expiry date cannot be read")
    elif found.end - time.time() < SOON:
        found.check(path)
        checklist.add(kinds[1](f"{_whose(kinds)}{path}: expires soon, on {date(found.end)}"))
    else:
        found.check(path)
        checklist.ok(kinds[0].check, f"{path}: valid until {date(found.end)}")


def _check_lists(checklist: Checklist, kinds: tuple[Kind, Kind, Kind], path: Path) -> None:
    """An outdated list is obeyed, as by QEMU's own TLS; but what was revoked since is not in it."""
    found = currency(read_lists(path))
    if found is None:
        checklist.ok(kinds[0].check, f"{path}: it has no date by which it is to be replaced")
        return
    left = found.end - time.time()
    if left < 0:
        checklist.add(kinds[2](f"{_whose(kinds)}{path}: out of date since {date(found.end)}, and still obeyed"))
    elif left < min(LIST_SOON, LIST_REST * (found.end - found.start)):
        checklist.add(kinds[2](f"{_whose(kinds)}{path}: out of date soon, on {date(found.end)}"))
    else:
        checklist.ok(kinds[0].check, f"{path}: up to date until {date(found.end)}")


def _whose(kinds: tuple[Kind, Kind, Kind]) -> str:
    """The two ends' files have the same names, and a migration's log does not show which check a line is of."""
    return "the destination's " if kinds[0].check is Check.DESTINATION_TLS else ""
