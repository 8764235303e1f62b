"""
The log of a worker is written by its daemon's main process: so it has one form, one level and one limit, wherever it goes.

An event crosses as it was made, with its namespace, format and values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import provider

from nbdtun.logs import make_named
from nbdtun.tunnel.channels import channel
from nbdtun.tunnel.runtime.log_limits import LineLimit

#: The lines that peers can cause without end, which are limited for all workers together.
LIMITED: Final = channel.__name__

#: Seconds in which the same event of another worker is the same one, and the most events that are compared.
ONCE: Final = 60.0
MOST: Final = 64


def sending(send: Callable[[dict[str, Any]], None]) -> ILogObserver:
    """Make an observer that gives each event of nbdtun's own, and each warning of others, to ``send``."""

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        namespace, level = event.get("log_namespace", ""), event.get("log_level", LogLevel.info)
        if not namespace.startswith("nbdtun") and level < LogLevel.warn:
            return
        values = {key: value for key, value in event.items() if not key.startswith("log_") and _is_plain(value)}
        form = event.get("log_format") or "{text}"
        if "log_failure" in event or "{text}" in form:
            form, values = "{text}", {"text": eventAsText(event, includeTimestamp=False, includeSystem=False)}
        send({"namespace": namespace, "level": level.name, "format": form, "values": values})

    observer: ILogObserver = observe
    return observer


class Lines:
    """
    Writes the events of all workers of one end, within ``limit``; ``now`` is its clock.

    What several of them say at a time, such as that the certificates have changed, is written once.
    """

    def __init__(self, limit: LineLimit, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._lately: deque[tuple[float, int, dict[str, Any]]] = deque(maxlen=MOST)

    def write(self, whose: int, event: dict[str, Any]) -> None:
        """Write an event of the worker ``whose``."""
        since = self._now() - ONCE
        if any(at >= since and who != whose and said == event for at, who, said in self._lately):
            return
        self._lately.append((self._now(), whose, event))
        if event["namespace"] != LIMITED or self._limit.allows():
            make_named(event["namespace"]).emit(LogLevel.lookupByName(event["level"]), event["format"], **event["values"])


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)
