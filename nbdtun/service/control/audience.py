"""Those who hear of a migration: how far it is, and what is worth a line."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from nbdtun.migration.progress import Progress
from nbdtun.tunnel.source.client import Source


@frozen
class Audience:
    """
    ``report`` is called with each new :class:`~nbdtun.migration.progress.Progress`, ``say`` with a line about the way to a destination that
    ssh reaches, ``meet`` with the tunnel once it is made. ``log`` returns where messages are now to be found, for `nbdtun status`; None
    where its user sees them.
    """

    report: Callable[[Progress], None] = lambda progress: None
    log: Callable[[], str | None] = lambda: None
    say: Callable[[str], None] = lambda line: None
    meet: Callable[[Source], None] = lambda source: None
