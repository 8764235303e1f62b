"""
What the twistd plugins run: a service whose failure to start is one line, as an operator expects of a daemon, and not a traceback.

The services themselves raise errors, because an application that embeds them wants to catch these.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError

from nbdtun.errors import NbdtunError, OutcomeUnknown


class Daemon(MultiService):
    """Holds ``services``; ``plugin`` is the name that its complaints begin with."""

    def __init__(self, plugin: str, *services: IService) -> None:
        super().__init__()
        self._plugin = plugin
        for service in services:
            service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """
        Start; this is where twistd is still the user that it was started as.

        :raise SystemExit: that failed; twistd ends with status 1.
        """
        try:
            super().privilegedStartService()
        except NbdtunError as error:
            raise SystemExit(f"{self._plugin}: {error.line}") from None


def leave(reactor: Any, error: NbdtunError | CancelledError | None) -> None:
    """
    End a daemon whose only work is done: with status 0, 1 for an error, 3 for an unknown outcome, 130 if it was cancelled.

    twistd itself knows no status but 0; so the last thing that the process does, when all is stopped and removed, is to end with another.
    """
    if error is not None:
        status = 130 if isinstance(error, CancelledError) else 3 if isinstance(error, OutcomeUnknown) else 1
        atexit.register(os._exit, status)
    reactor.callWhenRunning(reactor.stop)  # it may have failed before the reactor runs
