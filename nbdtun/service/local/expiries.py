"""Until when the files of one end's TLS are valid, for `nbdtun status` and for metrics."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nbdtun.errors import ConfigError
from nbdtun.tls.certificate import validity
from nbdtun.tls.revocation import currency, read_lists
from nbdtun.tls.store import CA_CERT, CA_CRL, Store


def expiries(store: Store | None, certificate: str) -> dict[str, float]:
    """
    When ``certificate`` and the CA's expire, and when the revocation lists are to be replaced, by the file's name: seconds since the epoch.

    A file that is not there, or of which only OpenSSL can tell, is left out; so is all of it without TLS.
    """
    if store is None:
        return {}
    found = {name: _end(store / name) for name in (certificate, CA_CERT)} | {CA_CRL: _end_of_lists(store / CA_CRL)}
    return {name: end for name, end in found.items() if end is not None}


def _end(path: Path) -> float | None:
    with suppress(OSError):
        found = validity(path.read_bytes())
        return None if found is None else found.end
    return None


def _end_of_lists(path: Path) -> float | None:
    with suppress(ConfigError):
        found = currency(read_lists(path))
        return None if found is None else found.end
    return None
