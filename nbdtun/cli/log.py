"""The command's log lines on standard error, beside its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbdtun.cli.streams import complain

if TYPE_CHECKING:
    from twisted.logger import LogEvent


def log_to_stderr(*, bars: bool) -> None:
    """
    Print the migration's log lines, for which bars make room; and lost and restored links, unless bars show them.

    The end of a channel is not logged here: if it matters, the migration's own error has it.
    """
    from twisted.logger import FilteringLogObserver, ILogObserver, LogLevel, LogLevelFilterPredicate, eventAsText, globalLogBeginner
    from zope.interface import provider

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        complain(eventAsText(event, includeTimestamp=False, includeSystem=False))

    levels = LogLevelFilterPredicate(LogLevel.critical)
    for namespace in ["nbdtun.migration", "nbdtun.service.control.migration"] + ([] if bars else ["nbdtun.tunnel.channels.channel"]):
        levels.setLogLevelForNamespace(namespace, LogLevel.info)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observe, [levels])], redirectStandardIO=False)
