"""
What happens again and again to a daemon that runs for years: each way to be refused, and each way to end.

A case makes its stage, and returns what is to be repeated; afterwards nothing of a repetition may be left.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import CommandFailed, TunnelError, tree
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import MIGRATION, Abort, Listen, Prepare, Query, Settle
from nbdtun.migration.progress import Phase
from nbdtun.service.control.client import Client
from nbdtun.service.control.commands import Cancel, Set, Status
from nbdtun.service.control.socket import ControlSocket
from nbdtun.tunnel.destination.allowlist import AllowList
from nbdtun.tunnel.protocol.frames import Kind, encode, encode_reset
from nbdtun.tunnel.settings import Limits, LocalLimits, Terms
from nbdtun.tunnel.source.local_users import LocalUsers
from tests.fuzz.pki import certificates
from tests.fuzz.targets import HostileDestination
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.stage import Stage as PaperStage
from tests.service.control.stage import Controllable
from tests.tunnel.stage.program import Program
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import AGREED, OFFER, Stranger, box

TERMS = Terms(window=128 * 1024, handshake_timeout=5.0, resume_window=5.0)
SESSION = "0123456789abcdef" * 2
OTHER = b"o" * 16

Repeated = Callable[[], None]
Case = Callable[[], Repeated]


def tidy(stage: Stage, seconds: float = 20.0) -> None:
    """The peer and the programs are gone, and time has passed; what the stage itself remembers goes."""
    for program in (*stage.near_programs, *stage.target.programs):
        program.close()
    stage.cable.cut()
    stage.near_programs.clear()
    stage.target.programs.clear()
    stage.cable.lines.clear()
    stage.rest()
    stage.crank.advance(seconds)
    stage.rest()


# Refused by a destination.


def stranger(*said: bytes, seconds: float = 0.0, **options: Any) -> Case:
    """Somebody connects, says this, and is gone."""

    def make() -> Repeated:
        stage = Stage(TERMS, **options)

        def again() -> None:
            one = Stranger(stage)
            for piece in said:
                one.say(piece)
            stage.crank.advance(seconds)
            stage.rest()
            tidy(stage)

        return again

    return make


def unreachable() -> Repeated:
    stage = Stage(TERMS)
    stage.target.refuse("target disk: unix:/run/nbd.sock: No such file or directory")

    def again() -> None:
        Stranger(stage).open()
        tidy(stage)

    return again


def full() -> Repeated:
    stage = Stage(TERMS, limits=Limits(channels=1))
    stage.meet()

    def again() -> None:
        one = Stranger(stage).open()
        assert one.hear_box()["_error_code"] == b"too-many-channels"
        one.hang_up()
        stage.near_programs.pop()

    return again


def ended(*last: bytes) -> Case:
    """A channel that is over is asked for again, within the time for which its end is remembered."""

    def make() -> Repeated:
        stage = Stage(TERMS)
        one = Stranger(stage).open()
        one.hear_box()
        for said in last:
            one.say(said)
        one.hang_up()
        if not last:
            stage.pass_time(TERMS.resume_window + 3, 1.0)
        assert not stage.destination.channels

        def again() -> None:
            for ask in (Stranger.resume, Stranger.open):
                asking = ask(Stranger(stage))
                assert "_error_code" in asking.hear_box()
                asking.hang_up()
            stage.near_programs.clear()

        return again

    return make


def old_offset() -> Repeated:
    stage = Stage(TERMS)
    one = Stranger(stage).open()
    one.hear_box()
    stage.target.programs[0].send(b"12345")
    stage.rest()
    one.say(encode(Kind.ACK, 5))
    stage.rest()

    def again() -> None:
        asking = Stranger(stage).resume(received=2)
        assert asking.hear_box()["_error_code"] == b"resume-refused"
        asking.hang_up()
        del stage.near_programs[1:]

    return again


def with_tls(*said: bytes, name: str = "localhost", **options: Any) -> Case:
    """A source that is refused after TLS, or refuses the destination's name; or somebody who speaks no TLS."""

    def make() -> Repeated:
        stage = Stage(TERMS, None, certificates(), **options)
        stage.source._dialer = evolve(stage.dialer, tls_name=name)

        def again() -> None:
            if said:
                one = Stranger(stage)
                for piece in said:
                    one.say(piece)
            else:
                stage.arrive()
                stage.pass_time(0.5)
            tidy(stage)

        return again

    return make


# Refused by a source, or by what it dials.


def answer(data: bytes) -> Case:
    """A destination answers this, whatever it was asked."""

    def make() -> Repeated:
        stage = Stage(TERMS)
        stage.cable.far = HostileDestination(stage, data)  # type: ignore[assignment]

        def again() -> None:
            stage.arrive()
            stage.pass_time(0.2)
            for _ in range(3):  # attempts
                tidy(stage, TERMS.handshake_timeout)
            assert not stage.source.channels

        return again

    return make


def nobody_there() -> Repeated:
    stage = Stage(TERMS)
    stage.cable.refuses = True

    def again() -> None:
        stage.arrive()
        tidy(stage, 0)
        stage.pass_time(TERMS.handshake_timeout + 1)

    return again


def too_many_local() -> Repeated:
    stage = Stage(TERMS)
    stage.source.users = LocalUsers(LocalLimits(channels_per_user=1))
    stage.meet()

    def again() -> None:
        stage.arrive().close()
        stage.near_programs.pop()
        stage.rest()

    return again


# Ends of channels and links.


def ending(how: Callable[[Stage, Program, Program], object]) -> Case:
    """A channel opens, carries something both ways, and ends."""

    def make() -> Repeated:
        stage = Stage(TERMS)

        def again() -> None:
            near, far = stage.meet()
            near.send(b"there")
            far.send(b"and back")
            stage.rest()
            how(stage, near, far)
            stage.rest()
            tidy(stage)
            stage.crank.advance(70)  # the log's periods end
            stage.rest()
            assert not stage.source.channels
            assert not stage.destination.channels

        return again

    return make


def complete(stage: Stage, near: Program, far: Program) -> None:
    near.shut()
    far.shut()
    stage.pass_time(0.2)


def reset_by_tcp(stage: Stage, near: Program, far: Program) -> None:
    ours, theirs = tcp_pair()
    stage.forwarder.arrived(theirs)
    stage.rest()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.close()
    stage.pass_time(0.2)
    complete(stage, near, far)


def cut_and_complete(stage: Stage, near: Program, far: Program) -> None:
    stage.cable.cut()
    near.send(b"again")
    stage.pass_time(1)
    complete(stage, near, far)


def silent(stage: Stage, near: Program, far: Program) -> None:
    stage.cable.line.stall()
    stage.crank.advance(TERMS.link_timeout)
    stage.pass_time(TERMS.link_timeout * 2, 1.0)
    complete(stage, near, far)


def expired(stage: Stage, near: Program, far: Program) -> None:
    stage.cable.refuses = True
    stage.cable.cut()
    stage.pass_time(TERMS.resume_window + 3, 1.0)
    stage.cable.refuses = False


def framed(data: bytes) -> Case:
    """A source opens a channel, says this on its link, and is gone."""

    def make() -> Repeated:
        stage = Stage(TERMS)

        def again() -> None:
            one = Stranger(stage).open()
            one.hear_box()
            for program in stage.target.programs:
                program.send(b"from the target")
            one.say(data)
            one.hang_up()
            tidy(stage, 100)
            assert not stage.destination.channels

        return again

    return make


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


OPEN = box(_command="OpenChannel", _ask="1", **OFFER, channel=OTHER, target="disk", window=1 << 18)
PREPARE = {"session": SESSION, **MIGRATION.offer(), "vm": "web1", "hardware": HARDWARE, "disks": [], "allowed": []}
HONEST = box(_answer="1", **AGREED, received=0, window=TERMS.window)

AT_A_DESTINATION: Mapping[str, Case] = {
    "a port scanner": stranger(),
    "silence": stranger(seconds=6),
    "garbage": stranger(b"GET / HTTP/1.1\r\n\r\n"),
    "no AMP": stranger(b"\xff" * 3000),
    "an empty box": stranger(b"\0\0"),
    "too many keys": stranger(box(**{f"k{n}": "x" for n in range(20)})),
    "too much": stranger(*[box(_command="Unknown", _ask="1", padding="x" * 4000)] * 5),
    "an unknown command": stranger(box(_command="Unknown", _ask="1")),
    "StartTLS": stranger(box(_command="StartTLS", _ask="1")),
    "no fields": stranger(box(_command="OpenChannel", _ask="1")),
    "a malformed field": stranger(OPEN.replace(b"window", b"windoW")),
    "a malformed flag": stranger(OPEN.removesuffix(b"\0\0") + b"\0\6urgent\0\5maybe\0\0"),
    "no answer wanted": stranger(OPEN.replace(b"\0\4_ask\0\0011", b"")),
    "another version": stranger(OPEN.replace(b"est\0\0011", b"est\0\0012")),
    "an unknown target": stranger(OPEN.replace(b"\0\4disk", b"\0\4risk")),
    "a short id": stranger(OPEN.replace(b"\0\x10" + OTHER, b"\0\x01o")),
    "a tiny window": stranger(box(_command="OpenChannel", _ask="1", **OFFER, channel=OTHER, target="disk", window=1)),
    "an unknown channel": stranger(box(_command="ResumeChannel", _ask="1", **OFFER, channel=OTHER, received=0)),
    "two commands": stranger(OPEN + OPEN),
    "not admitted": stranger(OPEN, allow=AllowList(("nobody",))),
    "an unreachable target": unreachable,
    "no room": full,
    "a channel that was reset": ended(encode_reset("reset", "no more")),
    "a channel that has expired": ended(),
    "a channel that broke the protocol": ended(b"\xff" * 16),
    "an old offset": old_offset,
}
UNDER_TLS: Mapping[str, Case] = {
    "no TLS": with_tls(b"GET / HTTP/1.1\r\n\r\n"),
    "half a handshake": with_tls(b"\x16\x03\x01\x02\x00\x01\x00"),
    "not admitted": with_tls(allow=AllowList(("nobody",))),
    "another name": with_tls(name="elsewhere"),
}
AT_A_SOURCE: Mapping[str, Case] = {
    **{f"the error {error.code}": answer(box(_error="1", _error_code=error.code, _error_description="no")) for error in tree(TunnelError)},
    "an unknown error": answer(box(_error="1", _error_code="whatever", _error_description="no\x1b[2J")),
    "nonsense": answer(b"\xff" * 100),
    "a question": answer(OPEN),
    "an answer without fields": answer(box(_answer="1")),
    "a hang-up": answer(b""),
    "BYE at once": answer(HONEST + encode(Kind.BYE, 0)),
    "a violation": answer(HONEST + encode(Kind.ACK, 1 << 40)),
    "a reset": answer(HONEST + encode_reset("reset", "no more")),
    "nobody there": nobody_there,
    "too many of one user": too_many_local,
}
ENDS: Mapping[str, Case] = {
    "complete": ending(complete),
    "the program closes": ending(lambda stage, near, far: near.close()),
    "the target closes": ending(lambda stage, near, far: far.close()),
    "the program is reset": ending(reset_by_tcp),
    "reset here": ending(lambda stage, near, far: stage.forwarder.reset("enough")),
    "reset there": ending(lambda stage, near, far: stage.destination.reset("disk", "enough")),
    "cut, and complete": ending(cut_and_complete),
    "silent, and complete": ending(silent),
    "expired": ending(expired),
    "no frame": framed(b"\xff" * 16),
    "data out of order": framed(encode(Kind.DATA, 7, b"x")),
    "a false acknowledgement": framed(encode(Kind.ACK, 1 << 40)),
    "a false end": framed(encode(Kind.FIN, 7)),
    "a reset": framed(encode_reset("reset", "x" * 2000)),
    "BYE": framed(encode(Kind.BYE, 0)),
    "its end, and gone": framed(encode(Kind.FIN, 0)),
    "half a frame": framed(encode(Kind.DATA, 0, b"12345")[:18]),
}
SESSIONS: Mapping[str, Case] = {
    "moved": migration(),
    "the source refuses": migration(refusing("source", "blockdev-add")),
    "the destination refuses": migration(refusing("destination", "block-export-add")),
    "the source refuses to migrate": migration(refusing("source", "migrate")),
    "the control channel is lost": migration(lambda stage, moving: stage.cut(), until=Phase.MIRROR),
    "the destination's QEMU ends": migration(lambda stage, moving: stage.destination.die(), until=Phase.MIRROR),
    "cancelled": migration(lambda stage, moving: moving.cancel(), until=Phase.MIRROR),
    "an unknown VM": asked(Prepare, **PREPARE | {"vm": "web9"}),
    "another version": asked(Prepare, **PREPARE | {"lowest": 9, "highest": 9}),
    "prepared, and gone": asked(Prepare, **PREPARE),
    "an unknown session": asked(Listen, session=SESSION),
    "nothing to abort": asked(Abort, session=SESSION),
    "a question": asked(Query, session=SESSION, vm="web1"),
    "nothing to settle": asked(Settle, vm="web9"),
}
CONTROL: Mapping[str, Case] = {
    "asked": controlled(command=Status),
    "changed": controlled(command=Set, bandwidth=7),
    "too late": controlled(command=Cancel, late=True),
    "gone before the end": controlled(command=Cancel),
    "cancelled": controlled(command=Cancel, stops=True),
    "hung up": controlled(),
    "garbage": controlled(b"\xff" * 4000),
    "an unknown command": controlled(box(_command="Unknown", _ask="1")),
    "malformed": controlled(box(_command="Set", _ask="1", bandwidth="-1")),
}
#: All there are, by their names.
CASES: Mapping[str, Case] = {
    f"{kind}: {name}": case
    for kind, cases in {
        "refused by a destination": AT_A_DESTINATION,
        "refused under TLS": UNDER_TLS,
        "refused by a source": AT_A_SOURCE,
        "an end": ENDS,
        "a session": SESSIONS,
        "a control socket": CONTROL,
    }.items()
    for name, case in cases.items()
}
