"""What is logged as a bug, with a traceback, fails whatever has caused it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import provider


@contextlib.contextmanager
def nothing_logged() -> Iterator[None]:
    """
    A traceback in the log is a failure, and so is a line of ours that is more than one, or that a terminal would obey.

    :raise AssertionError: with what was logged.
    """
    found: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.critical:
            failure = event.get("log_failure")
            found.append((formatEvent(event) or "") + ("\n" + failure.getTraceback() if failure else ""))
        if str(event.get("log_namespace", "")).startswith("nbdtun") and not formatEvent(event).isprintable():
            found.append(repr(formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not found, "logged: " + "\n".join(found)
