"""Workers that are in the test's own process: the same dialogue over the same sockets, and no process to start."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.process import adopt, quiet_factory
from nbdtun.service.workers.crew import Workers
from nbdtun.service.workers.keeper import Keeper


class Inside:
    """One of them; a :class:`~nbdtun.service.workers.worker.Process`."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        self.pid = pid
        self.keeper = keeper = Keeper(reactor)
        with link.dup() as own:
            own.setblocking(False)
            adopt(reactor, own, quiet_factory(lambda: keeper))

    def end(self, *, patient: bool) -> str:
        self.keeper.hang_up()
        for channel in tuple(self.keeper._channels.values()):
            channel.leave("its process has ended")
        return "killed by SIGKILL"


class Yard:
    """Makes them, and remembers them."""

    def __init__(self) -> None:
        self.made: list[Inside] = []
        self._pids = itertools.count(101)

    def workers(self, count: int) -> Workers:
        return Workers(count, self._start)

    def _start(self, link: socket.socket) -> Inside:
        self.made.append(Inside(next(self._pids), link))
        return self.made[-1]

    def of(self, pid: int) -> Keeper:
        return next(each.keeper for each in self.made if each.pid == pid)


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for it."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise TimeoutError
