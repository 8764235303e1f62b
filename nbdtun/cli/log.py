"""
The command's log lines on standard error, beside its progress: as plain lines, as JSON, or in systemd's journal, if that is where standard
error leads.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final, TextIO, cast

from nbdtun.cli import streams

if TYPE_CHECKING:
    from twisted.logger import ILogObserver, LogEvent

_TOLD: Final = (
    *("nbdtun.migration", "nbdtun.service.control.migration", "nbdtun.service.workers.crew"),
    "nbdtun.service.evacuation.survey",
)
_LINKS: Final = "nbdtun.tunnel.channels.channel"
#: Of what the command itself says.
_COMMAND: Final = "nbdtun.cli.streams"


def log_to_stderr(*, bars: bool, form: str = "text") -> None:
    """
    Print the log lines of the migration and of its workers, for which bars make room; and lost and restored links, unless bars show them.

    The end of a channel is not logged here: if it matters, the migration's own error has it. JSON (``form``) and the journal have the
    phases and the links as well, and all that the command says has its keys there.
    """
    from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner

    from nbdtun.logs import PROGRESS

    keyed = _keyed(form)
    levels = LogLevelFilterPredicate(LogLevel.critical)
    for namespace in (*_TOLD, *([] if bars else [_LINKS]), *([PROGRESS, _LINKS, _COMMAND] if keyed else [])):
        levels.setLogLevelForNamespace(namespace, LogLevel.info)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(keyed or _complaints(), [levels])], redirectStandardIO=False)
    streams.log_instead[:] = [_said] if keyed else []


def _keyed(form: str) -> ILogObserver | None:
    """The observer of lines that have keys; None where they are plain."""
    from nbdtun.daemon.journal import journal_of
    from nbdtun.daemon.log import observer

    if form == "json":
        return observer(cast("TextIO", _StandardError()), "json")
    return None if journal_of(sys.stderr) is None else observer(sys.stderr, "text")


class _StandardError(io.TextIOBase):
    """Standard error as it is when a line is written: bars, or the log of a lost terminal, may be in its place."""

    def write(self, text: str) -> int:
        """Write to it."""
        for prepare in streams.before_complaint:
            prepare()
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()


def _said(text: str, level: str, /, **known: object) -> None:
    from twisted.logger import LogLevel

    from nbdtun.logs import make_named

    make_named(_COMMAND).emit(LogLevel.lookupByName(level), "{text}", text=text, **known)


def _complaints() -> ILogObserver:
    from twisted.logger import ILogObserver, eventAsText
    from zope.interface import provider

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        streams.complain(eventAsText(event, includeTimestamp=False, includeSystem=False))

    printing: ILogObserver = observe
    return printing
