"""
The standby: a small process beside a migration, or beside a destination's daemon, which takes over if that is killed.

It waits at one end of a socket pair, whose other end is closed with the process that holds it. A migration's holds libvirt's connection too
while the guest is handed over. The process itself is ``nbdtun/daemon/standby.py``; what it does then is in ``takeover`` and ``clearing``.
"""

from __future__ import annotations

import os
import pickle
import socket
import stat
import subprocess
from contextlib import suppress
from typing import Final, Protocol

from attrs import frozen

from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError, MigrationError
from nbdtun.libvirt.near.way import Ward
from nbdtun.libvirt.rpc.messages import Message
from nbdtun.migration.settings import StepTimeouts
from nbdtun.process import beside

#: What the first byte of a message says: what is to be taken over, a handover that is under way, and that nothing will be.
WILL, HOLD, OVER = b"w", b"h", b"o"

#: The first process ends at once, so that nobody has to wait for the second one.
_LEAVE: Final = "import os\nif os.fork():\n    os._exit(0)\n"


class Left(Protocol):
    """What a process leaves that is killed; it can be pickled."""

    @property
    def name(self) -> str:
        """The VM, or the daemon, after which the standby is called."""


@frozen
class Will:
    """The way to the far end, ``dialling``, with the time limits ``steps``, and the ``ward`` for which it is gone."""

    dialling: Dialling
    steps: StepTimeouts
    ward: Ward

    @classmethod
    def of(cls, settings: Dialling, steps: StepTimeouts, ward: Ward) -> Will:
        """That of a migration by these settings, without what they say of the VM."""
        return cls(Dialling(tunnel=settings.tunnel, connect=settings.connect, far=settings.far), steps, ward)

    @property
    def name(self) -> str:
        """The VM's."""
        return self.ward.name


class Standby:
    """
    The process beside this one, once it is started.

    :raise ConfigError: it cannot be started.
    """

    def __init__(self, will: Left) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = beside("nbdtun.daemon.standby.stand_by", f"nbdtun standby of {will.name}", theirs.fileno(), _LEAVE)
            try:
                subprocess.run(
                    words,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=_errors(),
                    start_new_session=True,
                    check=True,
                )
                ours.send(WILL + pickle.dumps(will))
            except (OSError, subprocess.SubprocessError) as error:
                ours.close()
                raise ConfigError(f"{will.name}: the process beside it cannot be started: {error}") from None
        self._socket: socket.socket | None = ours

    def __repr__(self) -> str:
        return f"<Standby {'left' if self._socket is None else 'there'}>"

    def hold(self, finish: Message, descriptor: int) -> None:
        """
        Let it hold libvirt's connection ``descriptor``, on which the answer to ``finish`` is waited for.

        :raise MigrationError: it has ended.
        """
        try:
            if self._socket is None:
                raise BrokenPipeError
            socket.send_fds(self._socket, [HOLD + finish.encode()], [descriptor])
        except OSError:
            raise MigrationError("the process beside the migration has ended, so that nothing is handed over", "try again") from None

    def leave(self) -> None:
        """Let it take over; safe to repeat."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def dismiss(self) -> None:
        """It is not needed any more; safe to repeat."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(OVER)
        self.leave()


def _errors() -> int | None:
    """Where it says what it does: where this process does; but not into a pipe, whose reader would wait for it."""
    try:
        return subprocess.DEVNULL if stat.S_ISFIFO(os.fstat(2).st_mode) else None
    except OSError:
        return subprocess.DEVNULL
