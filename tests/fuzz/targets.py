"""
What a peer can send, and where it goes: each target takes any bytes, hands them to the real thing, and knows what must hold then.

``tests/properties/test_hostile.py`` chooses the bytes by hypothesis, always; ``python -m tests.fuzz`` lets atheris look for them, for as
long as one likes. A target fails by an exception, or by anything that the product logs with a traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import NbdtunError
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import MIGRATION, Abort, Finish, Listen, Prepare, Query, Settle
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.tls.certificate import names_of
from nbdtun.tunnel.protocol.outbound import PIECE
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.wires.plain import Wire
from tests.failures import nothing_logged
from tests.fuzz import libvirt, local, qemu
from tests.fuzz.cuts import pieces
from tests.fuzz.pki import certificates
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.stage import Stage as PaperStage
from tests.tunnel.stage.cable import Flow, Handle
from tests.tunnel.stage.program import Program
from tests.tunnel.stage.stage import Stage, all_here
from tests.tunnel.stage.stranger import AGREED, Stranger, box

TERMS = Terms(window=128 * 1024, handshake_timeout=5.0, resume_window=5.0)
SESSION = "0123456789abcdef" * 2


@contextlib.contextmanager
def staged(tls_dir: Path | None = None) -> Iterator[Stage]:
    """Both ends of a tunnel, and nothing of them afterwards."""
    stage = Stage(TERMS, None, tls_dir)
    try:
        with nothing_logged():
            yield stage
    finally:
        stage.cable.cut()
        for program in (*stage.near_programs, *stage.target.programs):
            program.close()


def _say(stranger: Stranger, data: bytes) -> None:
    for piece in pieces(data):
        if stranger.closed:
            return
        stranger.say(piece)


def _is_untouched(stage: Stage, near: Program, far: Program) -> None:
    """A channel of somebody else goes on."""
    before = len(far.got)
    near.send(b"still here")
    stage.rest()
    assert far.got[before:] == b"still here"


def opening(data: bytes) -> None:
    """Whatever a stranger says before his connection is a link."""
    with staged() as stage:
        near, far = stage.meet()
        stranger = Stranger(stage)
        _say(stranger, data)
        _is_untouched(stage, near, far)
        stranger.hang_up()
        stage.pass_time(TERMS.handshake_timeout + TERMS.resume_window + 3)
        assert len(stage.destination.admission) == 0
        assert len(stage.destination.channels) == 1


def before_tls(data: bytes) -> None:
    """Whatever a stranger says where TLS is spoken."""
    with staged(certificates()) as stage:
        stranger = Stranger(stage)
        _say(stranger, data)
        assert not stage.target.programs
        stage.pass_time(TERMS.handshake_timeout + 3)
        assert stranger.closed
        stage.assert_all_gone()


def frames(data: bytes) -> None:
    """Whatever a source says on a link, and on the next one of the same channel."""
    with staged() as stage:
        near, far = stage.meet()
        known = set(stage.destination.channels)
        for resumed, said in enumerate((data[: len(data) // 2], data[len(data) // 2 :])):
            stranger = Stranger(stage)
            if len(said) % 2 == 0:
                stage.cable.line.there.chunk = 20_000  # so that a large frame begins before all of it has come
            stranger.resume(received=said[0] if said else 0) if resumed else stranger.open()
            stranger.hear_box()
            _say(stranger, said)
            channels = all_here(set(stage.destination.channels) - known)
            assert all(len(each.inbound.backlog) <= TERMS.window for each in channels)
            assert all(each.outbound.kept <= TERMS.window + PIECE for each in channels)
            for program in stage.target.programs[1:]:
                program.send(b"from the target")
            stage.rest()
            stranger.hang_up()
        _is_untouched(stage, near, far)
        stage.pass_time(TERMS.resume_window + 3)
        assert set(stage.destination.channels) == known
        assert stage.far_pool.lent == 0


def with_keys(data: bytes) -> None:
    """
    Whatever somebody says who has proved a certificate, and encrypts it properly; and whatever the network does to that.

    The first byte says which end it is, and how many bytes the network carries at a time. A piece that begins with 0xff is damaged on its
    way. How a link is encrypted is not known here: it is written to as the product does it.

    A peer may begin a frame that swallows all it says later, and its PINGs keep that link alive. So the link is cut at the end.
    """
    if not data:
        return
    with staged(certificates()) as stage:
        near, far = stage.meet()
        speaker = stage.near if data[0] & 1 else stage.far
        line = stage.cable.line
        flow = line.there if data[0] & 1 else line.back
        line.there.chunk = line.back.chunk = (data[0] >> 1) * 37 + 101
        other_near, other_far = stage.meet()
        assert speaker.link is not None
        wire = speaker.link.wire
        for piece in pieces(data[1:]):
            _encrypted(stage, wire, piece, flow)
        for channel in all_here((*stage.source.channels, *stage.destination.channels)):
            assert len(channel.inbound.backlog) <= TERMS.window
            assert channel.outbound.kept <= TERMS.window + PIECE
        _is_untouched(stage, other_near, other_far)
        near.close()
        far.close()
        for program in (other_near, other_far):
            program.shut()
        stage.rest()
        stage.cable.cut()
        stage.pass_time(TERMS.resume_window + TERMS.link_timeout + 5, 0.5)
        stage.assert_all_gone()


def _encrypted(stage: Stage, wire: Wire, piece: bytes, flow: Flow) -> None:
    """Write ``piece`` as the plaintext of a link."""
    left = memoryview(bytearray(piece))
    for _ in range(100):
        if wire.closed or not left:
            break
        try:
            left = left[wire.write(left) :]
        except OSError:
            break
        stage.crank.turn()
        if piece[0] == 0xFF and flow.held:
            flow.held[len(flow.held) // 2] ^= 1
    stage.rest()


class HostileDestination:
    """Whoever dials it gets ``data`` for an answer."""

    def __init__(self, stage: Stage, data: bytes) -> None:
        self._stage = stage
        self._data = data

    def buildProtocol(self, address: object) -> HostileDestination:
        return self

    def makeConnection(self, handle: Handle) -> None:
        program = Program(self._stage.crank, handle.getHandle())
        self._stage.near_programs.append(program)
        program.send(self._data)


def answers(data: bytes) -> None:
    """Whatever a destination answers to a source's opening, and what it says on the link that may come of it."""
    with staged() as stage:
        stage.cable.far = HostileDestination(stage, data)  # type: ignore[assignment]
        stage.arrive()
        stage.pass_time(1)
        assert all(len(each.inbound.backlog) <= TERMS.window for each in all_here(stage.source.channels))
        stage.cable.cut()
        stage.cable.refuses = True
        stage.pass_time(TERMS.handshake_timeout + TERMS.resume_window + 5)
        assert not stage.source.channels
        assert stage.near_pool.lent == 0


ANSWER = box(_answer="1", **AGREED, received=0, window=TERMS.window)
"""What an honest destination answers first."""


def link_of_destination(data: bytes) -> None:
    """Whatever a destination says on a link, after an honest answer."""
    answers(ANSWER + data)


def commands(data: bytes) -> None:
    """Whatever a source says over a control channel; no word of it reaches QEMU."""
    stage = PaperStage()
    with nothing_logged():
        server, client = DestinationControl(stage.daemon), Control(stage.clock)
        ends = FakeTransport(server, isServer=True), FakeTransport(client, isServer=False)
        pump = connect(server, ends[0], client, ends[1])
        for piece in pieces(data):
            if not server.lost:
                server.dataReceived(piece)
                stage.clock.pump([0.01] * 20)
        client.hang_up()
        pump.flush()
        stage.clock.pump([0.5] * 60)
        assert not stage.egresses
        assert not stage.admitted
        assert not stage.destination.serving
        assert stage.destination.state == "inmigrate" or not stage.destination.alive


#: What an honest source tells of its VM.
WANTED: dict[str, Any] = {"vm": "web1", "hardware": HARDWARE, "disks": [], "bitmaps": [], "allowed": []}


def command_answers(data: bytes) -> None:
    """Whatever a destination says over a control channel to a source that has asked everything."""
    clock = Clock()
    outcomes: list[Any] = []
    with nothing_logged():
        control = Control(clock)
        transport = FakeTransport(control, isServer=False)
        control.makeConnection(transport)
        asked: list[tuple[Any, dict[str, Any]]] = [
            (
                Prepare,
                {"session": SESSION, **MIGRATION.offer(), "vm": "web1", "hardware": HARDWARE, "disks": [], "bitmaps": [], "allowed": []},
            ),
            (Listen, {"session": SESSION, "bitmaps": []}),
            (Finish, {"session": SESSION, "run": True, "settle": 0}),
            (Abort, {"session": SESSION}),
            (Query, {"session": SESSION, "vm": "web1"}),
            (Settle, {"vm": "web1"}),
        ]
        for command, arguments in asked:
            Deferred.fromCoroutine(control.ask(command, seconds=None, **arguments)).addBoth(outcomes.append)
        for piece in pieces(data):
            if not control.lost:
                control.dataReceived(piece)
                clock.advance(0.01)
        control.connectionLost()
        assert len(outcomes) == len(asked)
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                error = outcome.value
                assert isinstance(error, NbdtunError), outcome.getTraceback()
                assert len(error.line) < 70_000
                assert error.line.isprintable()


def certificate(data: bytes) -> None:
    """Whatever OpenSSL has taken for a certificate."""
    assert all(str(name).isprintable() for name in names_of(data))


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        *(opening, before_tls, frames, with_keys, answers, link_of_destination, commands, command_answers, qemu.qmp, certificate),
        *(local.control_socket, local.control_client, local.report, local.journal, local.events, local.endpoint, local.pem),
        *(libvirt.libvirt_calls, libvirt.libvirt_domain),
    )
}
