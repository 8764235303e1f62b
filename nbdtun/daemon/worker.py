"""
A worker as a process: how the main process of a daemon starts one, and what runs in it.

It takes part in nothing that the daemon is told, such as signals of a terminal or of a service manager: the main process decides when it
ends, and it ends with that. Its log is the main process's.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from functools import partial
from typing import Final, NoReturn

from nbdtun.process import ENDING, adopt, beside, quiet_factory, settle_in
from nbdtun.service.workers.crew import Workers

#: Seconds for a process to be gone whose connection has ended.
GONE: Final = 1.0


class Child:
    """A worker's process."""

    def __init__(self, words: list[str], link: socket.socket) -> None:
        self._process = subprocess.Popen(words, pass_fds=[link.fileno()], stdin=subprocess.DEVNULL)
        self.pid = self._process.pid

    def __repr__(self) -> str:
        return f"<Child {self.pid}>"

    def end(self, *, patient: bool) -> str:
        """Kill it, if it still runs, if ``patient`` after a moment; return how it has ended, in words."""
        try:
            status = self._process.wait(GONE if patient else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return "it hung" if patient else "it was ended"
        return f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def start(plugin: str, link: socket.socket) -> Child:
    """
    Start a worker of the daemon ``plugin``.

    :raise OSError: it cannot be started.
    """
    return Child(beside("nbdtun.daemon.worker.work", f"nbdtun worker of {plugin}", link.fileno()), link)


def workers(plugin: str, count: int, *, asked: bool = True) -> Workers | None:
    """So many workers for the daemon ``plugin``, which somebody has ``asked`` for; one is the main process itself."""
    return Workers(count, partial(start, plugin), asked) if count > 1 else None


def work(number: int) -> NoReturn:
    """Be a worker, whose main process is at the other end of the socket ``number``."""
    from typing import Any, cast

    from twisted.internet import reactor as installed
    from twisted.logger import globalLogBeginner

    from nbdtun.daemon.program import load_all
    from nbdtun.service.workers.keeper import Keeper
    from nbdtun.service.workers.lines import sending

    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    reactor: Any = cast("Any", installed)
    settle_in(reactor)
    load_all()
    keeper = Keeper(reactor)
    globalLogBeginner.beginLoggingTo([sending(keeper.send)], redirectStandardIO=False)
    with socket.socket(fileno=number) as link:
        link.setblocking(False)
        adopt(reactor, link, quiet_factory(lambda: keeper))
    keeper.when_lost().addCallback(lambda _: reactor.callWhenRunning(reactor.stop))
    reactor.run(installSignalHandlers=False)
    sys.exit(0)
