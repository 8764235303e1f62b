"""A link notices that the other end is gone, and says by itself that this one is not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nbdtun.errors import ResumeRefused
from nbdtun.tls.records import protection
from nbdtun.tunnel.channels import heartbeat
from nbdtun.tunnel.channels.link import ACK_DELAY
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.protocol.growth import START
from nbdtun.tunnel.settings import Records, Terms
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

MIB = 1 << 20


class TestBeing:
    def test_an_idle_link_says_something_now_and_then(self, stage: Stage, opened: Stranger) -> None:
        said = []
        for _ in range(9):
            stage.pass_time(stage.terms.link_timeout / 3)
            opened.say(encode(Kind.PONG, 0))
            said += opened.hear_frames()
        assert 6 <= len(said) <= 9
        assert {kind for kind, _, _ in said} == {Kind.PING}

    def test_a_ping_is_answered_with_its_token(self, opened: Stranger) -> None:
        opened.say(encode(Kind.PING, 77))
        assert opened.hear_frames() == [(Kind.PONG, 77, b"")]

    def test_a_new_link_asks_three_times_how_far_it_is(self, stage: Stage, opened: Stranger) -> None:
        stage.crank.advance(0.02)
        for pings in (1, 1, 0):
            opened.say(encode(Kind.PONG, int((stage.crank.seconds() - 0.02) * 1e6)))
            assert [kind for kind, _, _ in opened.hear_frames()] == [Kind.PING] * pings
        bdp = stage.far.outbound.bdp
        assert bdp is not None
        assert abs(bdp - 0.02 * 1.25e9) < 5000

    def test_a_far_end_may_have_more_under_way(self, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
        room: list[tuple[int, int]] = []
        monkeypatch.setattr("nbdtun.tunnel.wires.plain.make_far", lambda sock, *counts: room.append(counts))
        stage = make_stage(Terms(window=64 * MIB))
        stranger = Stranger(stage).open(window=64 * MIB)
        stranger.hear_box()
        stranger.hear_frames()
        stage.crank.advance(0.15)
        stranger.say(encode(Kind.PONG, int((stage.crank.seconds() - 0.15) * 1e6)))
        assert room == [(START, 64 * MIB)]
        growth = stage.far.outbound.growth
        stranger.say(encode(Kind.ACK, 0))  # the measurement begins
        growth.waited = True
        assert stage.far.link is not None
        for trip in (1, 2):
            stage.far.outbound.acked = trip * 18 * MIB  # as if so much had been delivered
            stage.crank.advance(0.151)
            growth.waited = True
            stage.far.link.ack_received(0)
        assert 35 * MIB < growth.limit <= 36 * MIB
        assert room[-1] == (growth.limit, 64 * MIB)

    def test_a_silent_peer_is_gone(self, stage: Stage, opened: Stranger, said: list[str]) -> None:
        stage.pass_time(stage.terms.link_timeout - 1)
        assert not opened.closed
        stage.pass_time(stage.terms.link_timeout)
        assert opened.closed
        assert any("nothing was received for 15 s" in line for line in said)

    def test_a_peer_that_only_pings_is_there(self, stage: Stage, opened: Stranger) -> None:
        for _ in range(60):
            stage.pass_time(stage.terms.link_timeout - 1)
            opened.say(encode(Kind.PING, 0))
        assert not opened.closed

    @pytest.mark.parametrize("timeout", [0.1, 1, 2, 4, 15])
    def test_idle_ends_keep_each_other_alive_however_short_the_timeout(self, make_stage: Callable[..., Stage], timeout: float) -> None:
        stage = make_stage(Terms(window=1 << 18, link_timeout=timeout))
        stage.meet()
        stage.pass_time(20 * timeout)
        assert stage.source.ledger.whole.resumes == 0

    @pytest.mark.parametrize("timeout", [0.1, 1, 2, 4, 15])
    def test_a_stalled_cable_is_noticed_in_time(self, make_stage: Callable[..., Stage], timeout: float) -> None:
        stage = make_stage(Terms(window=1 << 18, link_timeout=timeout))
        stage.meet()
        stage.pass_time(2 * timeout)
        stage.cable.line.stall()
        before = stage.crank.seconds()
        while not stage.source.ledger.whole.resumes:
            stage.pass_time(timeout / 10)
        assert 0.9 * timeout <= stage.crank.seconds() - before <= 1.5 * timeout + 4

    @pytest.mark.parametrize("direction", ["there", "back"])
    def test_one_stalled_direction_is_enough(self, stage: Stage, direction: str) -> None:
        near, far = stage.meet()
        {"there": stage.cable.line.there, "back": stage.cable.line.back}[direction].stalled = True
        near.send(b"question")
        far.send(b"answer")
        stage.pass_time(2 * stage.terms.link_timeout)
        assert bytes(far.got) == b"question"
        assert bytes(near.got) == b"answer"

    def test_a_pinging_peer_that_never_reads_costs_little(self, stage: Stage, opened: Stranger) -> None:
        opened.program.reads = False
        stage.cable.line.back.stalled = True
        link = stage.far.link
        assert link is not None
        for _ in range(100):
            opened.say(encode(Kind.PING, 0) * 1000)
        assert len(link._control) <= 1024 + 16


class TestAcknowledging:
    def test_who_asks_is_acknowledged_at_once(self, opened: Stranger) -> None:
        opened.say(encode(Kind.DATA_ASK, 0, b"little"))
        assert opened.hear_frames() == [(Kind.ACK, 6, b"")]

    def test_little_is_acknowledged_a_little_later(self, stage: Stage, opened: Stranger) -> None:
        opened.say(encode(Kind.DATA, 0, b"x" * 10) + encode(Kind.DATA, 10, b"y" * 10))
        assert opened.hear_frames() == []
        stage.pass_time(2 * ACK_DELAY)
        assert opened.hear_frames() == [(Kind.ACK, 20, b"")]

    def test_data_takes_an_acknowledgement_with_it(self, stage: Stage, opened: Stranger) -> None:
        opened.say(encode(Kind.DATA, 0, bytes(10_000)))
        stage.target.programs[0].send(b"answer")
        stage.rest()
        assert opened.hear_frames() == [(Kind.ACK, 10_000, b""), (Kind.DATA, 0, b"answer")]
        stage.pass_time(2 * ACK_DELAY)
        assert opened.hear_frames() == []

    def test_but_not_for_every_few_bytes(self, stage: Stage, opened: Stranger) -> None:
        opened.say(encode(Kind.DATA, 0, b"question"))
        stage.target.programs[0].send(b"answer")
        stage.rest()
        assert opened.hear_frames() == [(Kind.DATA, 0, b"answer")]
        stage.pass_time(2 * ACK_DELAY)
        assert opened.hear_frames() == [(Kind.ACK, 8, b"")]

    def test_much_is_acknowledged_at_once(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 20))
        stranger = Stranger(stage).open(window=1 << 20)
        for offset in range(0, 600_000, 100_000):
            stranger.say(encode(Kind.DATA, offset, bytes(100_000)))
        stranger.hear_box()
        acks = [offset for kind, offset, _ in stranger.hear_frames() if kind is Kind.ACK]
        assert acks == [0, 300_000, 600_000]

    def test_what_the_local_program_has_not_taken_is_not_acknowledged(self, stage: Stage, opened: Stranger) -> None:
        stage.target.programs[0].reads = False
        for offset in range(0, 262_144, 65_536):
            opened.say(encode(Kind.DATA, offset, bytes(65_536)))
        stage.pass_time(1)
        acked = max(offset for _, offset, _ in opened.hear_frames())
        assert acked == stage.far.inbound.written < stage.far.inbound.received == 262_144
        stage.target.programs[0].reads = True
        stage.pass_time(1)
        assert opened.hear_frames()[-1] == (Kind.ACK, 262_144, b"")

    def test_an_end_is_acknowledged_when_all_before_it_is_written(self, stage: Stage, opened: Stranger) -> None:
        program = stage.target.programs[0]
        program.reads = False
        for offset in range(0, 262_144, 65_536):
            opened.say(encode(Kind.DATA, offset, bytes(65_536)))
        opened.say(encode(Kind.FIN, 262_144))
        stage.pass_time(1)
        assert all(offset < 262_144 for _, offset, _ in opened.hear_frames())
        program.reads = True
        stage.rest()
        assert opened.hear_frames()[-1] == (Kind.ACK, 262_145, b"")
        assert program.got_end

    def test_a_link_that_is_closed_leaves_no_timer(self, stage: Stage, opened: Stranger) -> None:
        opened.say(encode(Kind.DATA, 0, b"x"))
        opened.hang_up()
        stage.pass_time(stage.terms.resume_window + 2)
        stage.assert_all_gone()


class TestOverTLS:
    def test_small_frames_right_behind_the_answer_need_no_ping(self, make_stage: Callable[..., Stage], tls_dir: Path) -> None:
        """They come in the records that were read while the connection was opened."""
        stage = make_stage(Terms(window=1 << 18), None, tls_dir)
        near, far = stage.meet()
        stage.cable.cut()
        far.send(bytes(9000))
        stage.rest()
        stage.crank.advance(0.6)  # the source dials again
        stage.rest()
        assert len(near.got) == 9000

    @pytest.mark.parametrize("records", Records)
    def test_keys_serve_for_so_many_bytes(
        self, make_stage: Callable[..., Stage], tls_dir: Path, monkeypatch: pytest.MonkeyPatch, records: Records
    ) -> None:
        """OpenSSL's cannot be changed; the link with new ones takes over from the old one, which never breaks."""
        monkeypatch.setattr(heartbeat, "KEYS_SERVE", 500_000)
        monkeypatch.setattr(protection, "CHANGE_AFTER", 30)
        stage = make_stage(Terms(window=1 << 18, records=records), None, tls_dir)
        near, far = stage.meet()
        there, back = bytes(range(256)) * 4000, bytes(range(256)) * 3000
        for start in range(0, len(there), 100_000):
            near.send(there[start : start + 100_000])
            far.send(back[start : start + 100_000])
            stage.pass_time(6)
        assert (bytes(far.got), bytes(near.got)) == (there, back)
        assert stage.near.resumes == stage.far.resumes == (3 if records is Records.LIBRARY else 0)

    def test_keys_that_cannot_be_replaced_now_serve_on(
        self, make_stage: Callable[..., Stage], tls_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(heartbeat, "KEYS_SERVE", 100_000)
        stage = make_stage(Terms(window=1 << 18, records=Records.LIBRARY), None, tls_dir)
        near, far = stage.meet()
        stage.cable.refuses = True
        near.send(bytes(200_000))
        stage.pass_time(30)
        assert len(far.got) == 200_000
        assert stage.near.resumes == 0
        stage.cable.refuses = False
        stage.pass_time(10)
        far.send(bytes(50_000))
        stage.pass_time(5)
        assert len(near.got) == 50_000
        assert stage.near.resumes == 1

    def test_a_refused_replacement_costs_nothing(
        self, make_stage: Callable[..., Stage], tls_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(heartbeat, "KEYS_SERVE", 100_000)
        stage = make_stage(Terms(window=1 << 18, records=Records.LIBRARY), None, tls_dir)
        near, far = stage.meet()
        asked: list[bytes] = []

        def refuse(ident: bytes, caller: object, proof: object) -> Any:
            asked.append(ident)
            raise ResumeRefused("not now")

        with monkeypatch.context() as refusing:
            refusing.setattr(stage.destination, "find", refuse)
            near.send(bytes(200_000))
            stage.pass_time(11)
            far.send(b"still here")
            stage.pass_time(1)
            assert near.got == b"still here"
            assert len(asked) >= 2
        stage.pass_time(6)
        assert stage.near.resumes == 1
        near.send(b"and then")
        stage.pass_time(1)
        assert far.got.endswith(b"and then")

    def test_another_name_cannot_resume(self, make_stage: Callable[..., Stage], tls_dir: Path) -> None:
        stage = make_stage(Terms(window=1 << 18), None, tls_dir)
        near, _ = stage.meet()
        (entry,) = stage.destination._entries.values()
        assert entry.caller.identity == "cn:nbdtun client"
        stage.destination._entries[stage.near.ident] = evolve(entry, caller=evolve(entry.caller, identity="0" * 64))
        stage.cable.cut()
        stage.pass_time(2)
        assert near.got_end
        assert "has no channel" in str(stage.forwarder.trouble)

    def test_a_connection_that_is_torn_while_a_channel_is_opened_is_dialled_again(
        self, make_stage: Callable[..., Stage], tls_dir: Path
    ) -> None:
        """Long after the handshake, a torn connection says nothing about trust."""
        stage = make_stage(Terms(window=1 << 18), None, tls_dir)
        stage.cable.pair = tcp_pair
        stage.target.delay = 0.5
        near = stage.arrive()
        stage.rest()
        line = stage.cable.line
        line.there.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.cut()  # with a reset
        stage.pass_time(3)
        assert len(stage.source.channels) == 1
        assert not near.got_end
