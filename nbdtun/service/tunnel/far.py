"""The far end of one migration, if there is one besides a daemon: ssh starts it, or a code leads to it."""

from __future__ import annotations

from nbdtun.config.settings import Dialling
from nbdtun.process import Reactor
from nbdtun.service.tunnel.introduced import Introduced
from nbdtun.service.tunnel.reached import Reached, Say

Far = Reached | Introduced


def far_of(reactor: Reactor, settings: Dialling, name: str, say: Say) -> Far | None:
    """The far end called ``name`` that ``settings`` name, which is not reached yet; None for a daemon."""
    if settings.code is not None:
        return Introduced(reactor, settings, name, say)
    return None if settings.by_ssh is None else Reached.by(reactor, settings, name, say)
