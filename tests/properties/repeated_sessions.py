"""The cases of ``repetitions`` that are about migrations, and about connections to a control socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import CommandFailed
from nbdtun.migration.control.channel import Control
from nbdtun.migration.progress import Phase
from nbdtun.service.control.client import Client
from nbdtun.service.control.socket import ControlSocket
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.stage import Stage as PaperStage
from tests.properties.repeated_channels import Case, Repeated
from tests.service.control.stage import Controllable

# Ends of sessions.


Spoil = Callable[[PaperStage, "Deferred[Any]"], object]


def migration(spoil: Spoil = lambda stage, moving: None, until: Phase | None = None, **settings: Any) -> Case:
    """One daemon, and a source and its QEMUs that are new each time."""

    def make() -> Repeated:
        daemon = PaperStage().daemon
        daemon.stage.ingresses.clear()

        def again() -> None:
            stage = daemon.stage
            stage.source = PaperQemu(stage.clock, "web1")
            stage.new_destination()
            moving = stage.start(**settings)
            if until is not None:
                stage.turn(60, until)
            spoil(stage, moving)
            stage.outcome(moving)
            stage.cut()
            stage.turn(400)
            stage.reports.clear()
            del stage.migration
            assert not stage.egresses

        return again

    return make


def refusing(end: str, command: str) -> Spoil:
    return lambda stage, moving: getattr(stage, end).fails.update({command: CommandFailed(f"QEMU refused {command}")})


def asked(command: Any, **arguments: Any) -> Case:
    """A source asks the daemon this over a control channel, and hangs up."""

    def make() -> Repeated:
        stage = PaperStage()

        def again() -> None:
            got: list[Any] = []
            Deferred.fromCoroutine(stage.control(Control(stage.clock))).addCallback(got.append)
            asking = Deferred.fromCoroutine(got[0].ask(command, seconds=None, **arguments))
            asking.addErrback(lambda _: None)
            stage.turn(1)
            got[0].hang_up()
            stage.turn(30)
            stage.cut()
            stage.turn(400)

        return again

    return make


# Ends of connections to a control socket.


def controlled(*said: bytes, command: Any = None, late: bool = False, stops: bool = False, **arguments: Any) -> Case:
    """Another command connects, says or asks this, and is gone; or the migration ends first."""

    def make() -> Repeated:
        clock, subject = Clock(), Controllable()
        subject.late = late
        control = ControlSocket(clock, "/run/nowhere", "web1", subject)  # type: ignore[arg-type]

        def again() -> None:
            server, client = control._client(), Client(clock, "web1")
            assert server is not None
            ends = FakeTransport(server, isServer=True), FakeTransport(client, isServer=False)
            pump = connect(server, ends[0], client, ends[1])
            if command is not None:
                asking = Deferred.fromCoroutine(client.ask(command, seconds=10, **arguments))
                asking.addErrback(lambda _: None)
            for piece in said:
                server.dataReceived(piece)
            pump.flush()
            if stops:
                waiting, control._waiting = control._waiting, []
                for one in waiting:
                    one.callback(None)
            client.hang_up()
            pump.flush()
            clock.advance(20)
            for each in (server, client):
                if not each.lost:
                    each.connectionLost(Failure(ConnectionError("gone")))
            subject.changes.clear()
            assert not control._clients
            assert not control._waiting

        return again

    return make
