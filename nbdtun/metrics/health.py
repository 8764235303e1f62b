"""Whether a daemon serves: the answers at ``/readyz``."""

from __future__ import annotations

import time

from nbdtun.service.destination import DestinationService
from nbdtun.service.local.expiries import expiries
from nbdtun.service.local.waiting import listed
from nbdtun.service.source import SourceService
from nbdtun.tls.certificate import date
from nbdtun.tls.store import CA_CRL, CLIENT_CERT, SERVER_CERT, Store
from nbdtun.units import duration_text


def unready(service: DestinationService | SourceService) -> str:
    """Why ``service`` would not serve now, in a line; empty if it would."""
    if service.draining:
        return f"shutting down, waits for {listed(service.under_way) or 'nothing any more'}"
    certificate = CLIENT_CERT if isinstance(service, SourceService) else SERVER_CERT
    return expired(service.settings.tunnel.store, certificate) or _lost(service)


def expired(store: Store | None, certificate: str) -> str:
    """Which file in ``store`` no peer would trust any more; an outdated revocation list is still obeyed."""
    now = time.time()
    over = {name: end for name, end in expiries(store, certificate).items() if end <= now and name != CA_CRL}
    return ", ".join(f"{name} has expired on {date(end)}" for name, end in over.items())


def _lost(service: DestinationService | SourceService) -> str:
    """One source without a link is no reason for a destination not to serve others."""
    lost_for = service.tunnel.lost_for if isinstance(service, SourceService) else None
    return "" if lost_for is None else f"no link for {duration_text(lost_for)}"
