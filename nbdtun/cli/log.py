"""What the command has to say on standard error beside its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbdtun.cli.streams import complain

if TYPE_CHECKING:
    from twisted.logger import LogEvent


def log_to_stderr(*, bars: bool) -> None:
    """
    What the migration has to say beside its progress, as lines, which bars make room for; and when a link goes and comes back, which bars
    show.

    How a channel ends is not told here: if that matters, it is the reason of the migration's own end.
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
