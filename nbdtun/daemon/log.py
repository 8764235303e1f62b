"""
The daemons' log lines: as text, as JSON, and in systemd's journal.

The keys of :data:`nbdtun.logs.KEYS` are stable: they mean the same in each line that has them, in JSON and in the journal.

Twisted's own events, such as a port that opens, are shown from the level of a warning on; nbdtun has lines of its own for these.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    globalLogBeginner,
)
from txaio.tx import set_global_log_level
from zope.interface import provider

from nbdtun.daemon.journal import journal_of
from nbdtun.errors import printable
from nbdtun.logs import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.logger import LogEvent

#: Twisted's levels, as syslog's; journald reads them at the start of a line (sd-daemon(3)).
_PRIORITIES: Final = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}


def json_lines() -> ILogObserver:
    """Make an observer that prints each event as a JSON object to standard output: for ``twistd --logger nbdtun.daemon.log.json_lines``."""
    return observer(sys.stdout, "json")


def log_to(stream: TextIO, form: str, level: str) -> Callable[[str], None]:
    """
    Log to ``stream`` in one of :data:`~nbdtun.config.values.LOG_FORMATS`, from one of ``LOG_LEVELS`` on; the function that is returned
    changes the level.
    """
    levels = LogLevelFilterPredicate(LogLevel.warn)

    def set_level(level: str) -> None:
        least = LogLevel.lookupByName(level)
        set_global_log_level(level)
        levels.setLogLevelForNamespace("", max(least, LogLevel.warn))
        levels.setLogLevelForNamespace("nbdtun", least)

    set_level(level)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observer(stream, form), [levels])], redirectStandardIO=False)
    return set_level


def observer(stream: TextIO, form: str) -> ILogObserver:
    """Make an observer that prints to ``stream`` in one of these formats, or ``bare``; a stream that fails ends nothing."""
    journal = journal_of(stream) if form == "text" else None
    shown = {"json": _as_json, "bare": _text}.get(form) or (_as_text if journal is None else _for_journal)

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if journal is not None and journal.send(event, _text(event), _PRIORITIES[_level(event)]):
            return
        try:
            stream.write(shown(event) + "\n")
            stream.flush()
        except (OSError, ValueError):  # a lost terminal, a full disk, a closed stream
            return

    printing: ILogObserver = observe
    return printing


def _as_text(event: LogEvent) -> str:
    return f"{_time(event).isoformat(' ', 'seconds')} {_level(event):5} {_text(event)}"


def _for_journal(event: LogEvent) -> str:
    lines = _text(event).splitlines()  # each is an entry of its own
    return "\n".join(f"<{_PRIORITIES[_level(event)]}>{line}" for line in lines)


def _as_json(event: LogEvent) -> str:
    values = {key: value for key, value in event.items() if not key.startswith("log_") and _is_plain(value)}
    values = {key: value for key, value in values.items() if key not in KEYS or value not in (None, "")}
    told = {"time": event["log_time"], "level": _level(event), "source": event.get("log_namespace", ""), "text": _text(event)}
    return json.dumps({**values, **told})


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _time(event: LogEvent) -> datetime:
    return datetime.fromtimestamp(event["log_time"]).astimezone()


def _level(event: LogEvent) -> str:
    return str(event.get("log_level", LogLevel.info).name)


def _text(event: LogEvent) -> str:
    """One line; a traceback has more."""
    if "log_failure" in event:
        return eventAsText(event, includeTimestamp=False, includeSystem=False)
    return printable(formatEvent(event))
