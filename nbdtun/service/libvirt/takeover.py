"""
What the standby does when the process of a migration was killed: it tells the far end, and libvirt here what became of the guest.

libvirt itself undoes a migration whose sockets are closed, and lets the guest run on here. Only in a handover it must not do that before it
is known that the guest does not run at the destination. So the standby keeps libvirt waiting then, for as long as it takes.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from nbdtun.deferreds import end_of
from nbdtun.errors import NbdtunError, OutcomeUnknown
from nbdtun.libvirt.far.arrivals import BASE, COMMON
from nbdtun.libvirt.near.handover import Held
from nbdtun.libvirt.near.pending import MOVED, STAYED, pending
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.rpc.messages import Reader
from nbdtun.libvirt.values import Fate
from nbdtun.logs import make_logger
from nbdtun.migration.rollback.presence import identity
from nbdtun.process import Reactor
from nbdtun.service.libvirt import directory
from nbdtun.service.libvirt.standby import Will
from nbdtun.service.libvirt.way import TunnelWay
from nbdtun.service.local.outcomes import state_dir
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.build import make_source
from nbdtun.service.tunnel.reached import Reached
from nbdtun.tunnel.source.client import Source

#: Seconds between two attempts to reach the far end.
AGAIN: Final = 3.0
#: Seconds in which libvirt ends the domain here, after it has heard that it runs there.
ENDING: Final = 60.0
#: Seconds for a channel to end by itself.
SETTLE: Final = 3.0


class Takeover:
    """
    Does what ``will`` says. ``connection`` is libvirt's, if a handover was under way; the call ``finish`` on it waits for its answer.
    """

    log = make_logger()

    def __init__(self, reactor: Reactor, will: Will, connection: socket.socket | None = None, finish: bytes = b"") -> None:
        self._reactor = reactor
        self._dialling, self._steps = will.dialling, will.steps
        self._ward = will.ward
        self._pending = pending(state_dir(will.dialling.tunnel.run_dir), will.ward.uuid)
        self._held = None if connection is None else Held(reactor, connection, next(Reader().feed(finish)))
        self._waiting: Deferred[None] | None = None
        self._until = None if self._held else reactor.seconds() + will.dialling.tunnel.resume_window

    def __repr__(self) -> str:
        return f"<Takeover of {self._ward.name}, {self._held or 'not handed over'}>"

    async def run(self) -> None:
        """Do it, and return when nothing is left to do."""
        vm = self._ward.name
        self.log.warn("{vm}: nbdtun migrate has ended without an outcome; asking the destination", vm=vm)
        self._note(holder=identity(os.getpid()))
        self._sweep()
        fate = await self._insist()
        if fate is None:
            self.log.warn("{vm}: the destination could not be asked; it ends the migration by itself", vm=vm)
        if self._held is None:
            return
        if self._held.closed.called and not self._pending.is_there:
            self.log.info("{vm}: libvirt here has ended it", vm=vm)
        elif self._held.closed.called:
            self._note(holder="")
            self.log.warn("{vm}: libvirt no longer waits for the outcome; use --resolve", vm=vm)
        elif fate is not None and fate.has_run:
            await self._conclude(self._held)
        else:
            self._held.let_go()
            await end_of(self._held.closed)
            self._note(ended=STAYED)
            told = (
                "its guest does not run at the destination, and"
                if fate is not None
                else "somebody has ended this process, so that its guest"
            )
            self.log.warn("{vm}: {told} runs on here", vm=vm, told=told)

    def cancel(self) -> None:
        """Ask no more: an operator has decided that the guest runs on here."""
        self._until = 0.0
        if self._waiting is not None:
            self._waiting.cancel()

    async def _conclude(self, held: Held) -> None:
        """It runs there: libvirt ends the domain here, as after every migration."""
        held.conclude(self._ward.name, self._ward.uuid)
        await end_of(held.closed)
        self._note(ended=MOVED)
        self.log.info("{vm}: it runs at the destination", vm=self._ward.name)

    async def _insist(self) -> Fate | None:
        """Ask until there is an answer; None: it was not asked for any longer."""
        said = ""
        while True:
            try:
                return await self._ask()
            except NbdtunError as error:
                if error.line != said:  # each once
                    self.log.warn("{vm}: {reason}", vm=self._ward.name, reason=error.line)
                said = error.line
            late = self._until is not None and self._reactor.seconds() >= self._until
            if late or (self._held is not None and self._held.closed.called):
                return None
            self._waiting = deferLater(self._reactor, AGAIN)
            try:
                await self._waiting
            except CancelledError:
                return None

    async def _ask(self) -> Fate:
        """Reach the far end, and have it end what waits for the guest."""
        settings = self._dialling
        reached = None if settings.by_ssh is None else Reached.by(self._reactor, settings, self._ward.name, lambda line: None)
        source, settled = None, False
        try:
            source = make_source(self._reactor, settings) if reached is None else Source(await reached.open())
            fate = await self._outcome(source)
            settled = True
            return fate
        finally:
            if source is not None:
                await source.drain(SETTLE)
                await source.stop()
            if reached is not None:
                await reached.acknowledge(settled=settled)
                await reached.close()

    async def _outcome(self, source: Source) -> Fate:
        tunnel = self._dialling.tunnel
        way = TunnelWay(self._reactor, source, RunDir(tunnel.run_dir, tunnel.socket_owner))
        session = FarSession(self._reactor, way, self._ward.session, self._ward.secret, evolve(self._steps, settle=AGAIN))
        try:
            return await session.outcome(self._ward.uuid, end=True)
        finally:
            session.close()

    def _note(self, **changes: Any) -> None:
        try:
            found = self._pending.read()
        except OutcomeUnknown as odd:  # it is asked for all the same
            self.log.warn("{vm}: {reason}", vm=self._ward.name, reason=odd.line)
            return
        if self._held is not None and found is not None and found.session == self._ward.session:
            self._pending.write(evolve(found, **changes))

    def _sweep(self) -> None:
        """Remove the sockets of the process that was killed."""
        tunnel = self._dialling.tunnel
        RunDir(tunnel.run_dir, tunnel.socket_owner).sweep()
        for base in (BASE, COMMON):
            directory.sweep(Path(base))
