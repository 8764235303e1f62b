"""The cases of ``repetitions`` that are about connections and channels: what strangers say, and how channels end."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from attrs import evolve

from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.settings import Limits, LocalLimits, Terms
from nbdtun.tunnel.source.local_users import LocalUsers
from tests.fuzz.pki import certificates
from tests.fuzz.targets import HostileDestination
from tests.tunnel.stage.program import Program
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

TERMS = Terms(window=128 * 1024, handshake_timeout=5.0, resume_window=5.0)
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
