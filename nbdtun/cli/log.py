"""The command's log lines on standard error, beside its progress; in systemd's journal, if that is where standard error leads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from nbdtun.cli.streams import complain

if TYPE_CHECKING:
    from twisted.logger import ILogObserver, LogEvent

_TOLD: Final = ("nbdtun.migration", "nbdtun.service.control.migration")
_LINKS: Final = "nbdtun.tunnel.channels.channel"


def log_to_stderr(*, bars: bool) -> None:
    """
    Print the migration's log lines, for which bars make room; and lost and restored links, unless bars show them.

    The end of a channel is not logged here: if it matters, the migration's own error has it. The journal has the phases as well.
    """
    from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner

    from nbdtun.daemon.journal import journal_of
    from nbdtun.logs import PROGRESS

    structured = journal_of(sys.stderr) is not None
    levels = LogLevelFilterPredicate(LogLevel.critical)
    for namespace in (*_TOLD, *([] if bars else [_LINKS]), *([PROGRESS, _LINKS] if structured else [])):
        levels.setLogLevelForNamespace(namespace, LogLevel.info)
    observe = _journal() if structured else _complaints()
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observe, [levels])], redirectStandardIO=False)


def _journal() -> ILogObserver:
    from nbdtun.daemon.log import observer

    return observer(sys.stderr, "text")


def _complaints() -> ILogObserver:
    from twisted.logger import ILogObserver, eventAsText
    from zope.interface import provider

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        complain(eventAsText(event, includeTimestamp=False, includeSystem=False))

    printing: ILogObserver = observe
    return printing
