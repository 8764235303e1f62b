"""
The process that stands by: it waits for the end of the one that has started it, and takes over what that has left.

It loads nothing of nbdtun's but that until then, and takes part in nothing that its starter is told: signals of a terminal, or of a service
manager.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import NoReturn

from nbdtun.process import no_core_dumps

#: The most bytes of a message.
_MOST = 1 << 20


def stand_by(number: int) -> NoReturn:
    """Wait at the socket ``number``; then end."""
    no_core_dumps()
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    will = finish = b""
    held = -1
    with socket.socket(fileno=number) as starter:
        while True:
            data, descriptors, _, _ = socket.recv_fds(starter, _MOST, 1)
            if not data:
                break
            if data[:1] == b"o":
                os._exit(0)
            if data[:1] == b"w":
                will = data[1:]
            else:
                finish, held = data[1:], descriptors[0]
    if will:
        _take_over(will, finish, held)
    os._exit(0)


def _take_over(will: bytes, finish: bytes, held: int) -> None:
    import pickle
    from typing import Any

    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from nbdtun.daemon.log import log_to
    from nbdtun.process import settle_in
    from nbdtun.service.libvirt.clearing import Clearing
    from nbdtun.service.libvirt.standby import Will
    from nbdtun.service.libvirt.takeover import Takeover

    settle_in(reactor)
    log_to(sys.stderr, "text", "info")
    connection = socket.socket(fileno=held) if held >= 0 else None
    left = pickle.loads(will)  # written by our starter
    work = Takeover(reactor, left, connection, finish) if isinstance(left, Will) else Clearing(reactor, left)
    running: Any = reactor
    signal.signal(signal.SIGTERM, lambda *_: running.callFromThread(work.cancel))

    def begin() -> None:
        working = Deferred.fromCoroutine(work.run())
        working.addErrback(lambda failure: work.log.failure("a bug in nbdtun", failure=failure))
        working.addBoth(lambda _: running.stop())

    running.callWhenRunning(begin)
    running.run(installSignalHandlers=False)
