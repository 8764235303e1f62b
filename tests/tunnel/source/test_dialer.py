"""The source dials: again when the cable fails, not when it is refused, and leaves nothing behind when it is called off."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError, NoRouteError

from nbdtun.errors import LinkLost, TargetUnreachable, TunnelError, Unreachable
from nbdtun.tls import issue
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.source.dialer import CONNECT_TIMEOUT, backoff
from tests.tls.stage.certificates import revoke_client
from tests.tunnel.stage.cable import Handle
from tests.tunnel.stage.dialling import failure, opening
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import AGREED, box


async def fails(error: Exception) -> Any:
    raise error


class TestTrying:
    def test_links_that_carry_nothing_are_dialled_for_less_and_less_often(self, stage: Stage) -> None:
        """A destination that takes each of them up and cuts it at once must not keep the source busy, nor fill its log."""
        stage.meet()
        for _ in range(1000):
            stage.pass_time(0.1)
            stage.cable.cut()
        assert 20 < stage.source.ledger.whole.resumes < 100
        stage.pass_time(5)
        assert stage.near.link is not None

    def test_one_that_has_carried_something_is_dialled_for_at_once(self, stage: Stage) -> None:
        near, far = stage.meet()
        for count in range(1, 20):
            near.send(b"x")
            stage.pass_time(0.1)
            stage.cable.cut()
            stage.rest()
            assert stage.source.ledger.whole.resumes == count
        assert far.got == b"x" * 19

    def test_a_channel_outlives_the_certificate_that_has_opened_it(
        self, make_stage: Callable[..., Stage], tls_dir: Path, tmp_path: Path
    ) -> None:
        """Renewed and taken back meanwhile: a lost link comes back with the new one, as its name is the same."""
        mine = Path(shutil.copytree(tls_dir, tmp_path / "tls"))
        stage = make_stage(tls_dir=mine)
        near, far = stage.meet()
        revoke_client(mine)
        issue.make(mine, ["localhost"], force=True)
        near.send(b"1")
        stage.rest()
        stage.cable.cut()
        stage.pass_time(5)
        near.send(b"2")
        stage.rest()
        assert far.got == b"12"
        assert stage.source.ledger.whole.resumes == 1

    def test_the_destination_comes_up_late(self, stage: Stage) -> None:
        stage.cable.refuses = True
        _, outcome, ours = opening(stage)
        stage.pass_time(0.5)
        assert not outcome
        stage.cable.refuses = False
        stage.pass_time(5)
        assert outcome == [stage.near]
        ours.close()

    def test_one_that_was_met_is_waited_for_longer(self, stage: Stage) -> None:
        stage.meet()
        stage.cable.refuses = True
        _, outcome, ours = opening(stage)
        stage.pass_time(4)
        assert not outcome
        stage.cable.refuses = False
        stage.pass_time(5)
        assert outcome
        ours.close()

    def test_nobody_there_is_told_soon(self, stage: Stage) -> None:
        stage.cable.refuses = True
        _, outcome, ours = opening(stage)
        stage.pass_time(2.5)
        assert isinstance(failure(outcome), Unreachable)
        assert str(failure(outcome)) == "the cable: connection refused, nobody listens there; is `nbdtun dest` running?"
        ours.close()

    def test_a_name_without_an_address_is_told_at_once(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nbdtun.tunnel.source.dialer.connect", lambda endpoint: fails(DNSLookupError()))
        _, outcome, ours = opening(stage)
        stage.rest()
        assert str(failure(outcome)) == "the cable: this name has no address; check its spelling and DNS"
        assert getattr(failure(outcome), "code", "") == "host-unknown"
        ours.close()

    def test_a_host_without_a_route_is_told_with_the_reason(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = NoRouteError(errno.EHOSTUNREACH, "No route to host")
        monkeypatch.setattr("nbdtun.tunnel.source.dialer.connect", lambda endpoint: fails(lost))
        _, outcome, ours = opening(stage)
        stage.pass_time(stage.terms.handshake_timeout + 1)
        assert str(failure(outcome)) == "the cable: No route to host; check the route to it, and the firewalls"
        ours.close()

    def test_a_first_link_is_tried_for_a_limited_time(self, stage: Stage) -> None:
        stage.cable.refuses = True
        _, outcome, ours = opening(stage)
        stage.pass_time(stage.terms.handshake_timeout + 1)
        assert isinstance(failure(outcome), LinkLost)
        assert str(failure(outcome)).startswith("the cable: ")
        assert ours.recv(1) == b"", "the local program's connection is closed"
        ours.close()
        stage.assert_all_gone()

    def test_a_refusal_is_not_tried_again(self, stage: Stage) -> None:
        stage.target.refuse("target disk: No such file or directory")
        _, outcome, ours = opening(stage)
        stage.rest()
        assert isinstance(failure(outcome), TargetUnreachable)
        assert stage.cable.attempts == 1
        ours.close()
        stage.assert_all_gone()

    def test_a_cable_that_swallows_everything(self, stage: Stage) -> None:
        """No refusal, no answer: an attempt ends by itself, and another is made."""
        stage.cable.swallows = True
        _, outcome, ours = opening(stage)
        stage.pass_time(CONNECT_TIMEOUT + 1)
        assert stage.cable.attempts == 2
        stage.cable.swallows = False
        stage.pass_time(CONNECT_TIMEOUT + 1)
        assert outcome == [stage.near]
        ours.close()

    def test_a_resume_outlives_a_cable_that_swallows_everything(self, stage: Stage) -> None:
        near, far = stage.meet()
        stage.cable.swallows = True
        stage.cable.cut()
        near.send(b"still there?")
        stage.pass_time(60)
        assert stage.cable.attempts > 5
        assert "no connection in 4 s" in str(stage.near.outage.trouble)
        stage.cable.swallows = False
        stage.pass_time(10)
        assert bytes(far.got) == b"still there?"

    def test_a_resume_outlives_connections_that_stay_silent(self, stage: Stage) -> None:
        near, far = stage.meet()
        stage.cable.cut()
        near.send(b"still there?")
        for _ in range(3):
            stage.crank.advance(0.1)
            while not stage.cable.line.open:
                stage.crank.turn()
                stage.crank.advance(0.1)
            stage.cable.line.stall()
            stage.pass_time(stage.terms.handshake_timeout + 0.5)
        stage.pass_time(10)
        assert bytes(far.got) == b"still there?"

    def test_the_second_attempt_comes_at_once_and_later_ones_less_often(self) -> None:
        delays = [backoff(failures) for failures in range(40)]
        assert delays[0] < 0.6
        assert max(delays) <= 4.0
        assert min(delays[10:]) >= 3.0
        assert len(set(delays[10:])) > 1, "all channels would dial at the same moment"


class TestProbing:
    def probe(self, stage: Stage) -> list[Any]:
        outcome: list[Any] = []
        Deferred.fromCoroutine(stage.dialer.probe()).addBoth(outcome.append)
        return outcome

    def test_a_destination_that_admits_us(self, stage: Stage) -> None:
        outcome = self.probe(stage)
        stage.rest()
        assert outcome == [None]
        stage.assert_all_gone()

    def test_is_asked_once(self, stage: Stage) -> None:
        stage.cable.refuses = True
        outcome = self.probe(stage)
        stage.rest()
        assert isinstance(failure(outcome), LinkLost)


class TestAnswers:
    """A destination that is none."""

    def answered(self, stage: Stage, answer: bytes) -> list[Any]:
        def connected(factory: Any, far: object, /) -> Any:
            ours, theirs = socket.socketpair()
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(Handle(ours))
            theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)
            self.theirs = theirs
            return protocol

        stage.cable._connected = connected  # type: ignore[method-assign]
        _, outcome, ours = opening(stage)
        stage.pass_time(stage.terms.handshake_timeout + 5)
        ours.close()
        self.theirs.close()
        return outcome

    @pytest.mark.parametrize(
        "answer",
        [
            box(_answer="1"),
            box(_answer="1", **AGREED, received="x", window="262144"),
            box(_answer="1", **AGREED, received="0", window="262144x"),
            box(_answer="1", **AGREED, received="5", window="262144"),
            box(_answer="1", **AGREED, received="-1", window="262144"),
            box(_answer="1", **AGREED, received="0", window="0"),
            box(_answer="1", **AGREED, received="0", window="-5"),
            box(_answer="1", **AGREED, received="0", window="999999999"),
            box(_answer="1", version=2, features="", received="0", window="262144"),
            box(_answer="1", version=1, features="ghosts", received="0", window="262144"),
            box(_error="1", _error_code="nothing-known", _error_description="?"),
        ],
    )
    def test_a_nonsensical_answer_is_a_violation(self, stage: Stage, answer: bytes) -> None:
        error = failure(self.answered(stage, answer))
        assert isinstance(error, TunnelError)
        assert error.code in ("protocol", "resume-refused", "tunnel")
        stage.assert_all_gone()

    @pytest.mark.parametrize(
        "answer",
        [b"", b"\0\0", box(_answer="9"), box(_error="1"), box(_command="OpenChannel", _ask="1")],
    )
    def test_no_answer_at_all_is_tried_again_and_then_given_up(self, stage: Stage, answer: bytes) -> None:
        lost = failure(self.answered(stage, answer))
        assert isinstance(lost, LinkLost)
        assert lost.remedy == "is it another service, or does it require TLS (--tls-dir)?"
        stage.assert_all_gone()

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\0\x02\x02\x46" * 30, b"\xff" * 5000])
    def test_another_service_is_called_that(self, stage: Stage, answer: bytes) -> None:
        assert str(failure(self.answered(stage, answer))) == "the cable: it is another service, or it requires TLS (--tls-dir)"
        stage.assert_all_gone()

    def test_frames_right_behind_the_answer_are_taken(self, stage: Stage) -> None:
        answer = box(_answer="1", **AGREED, received="0", window="262144") + encode(Kind.DATA, 0, b"early") + encode(Kind.RESET, 0)
        (channel,) = self.answered(stage, answer)
        assert channel.inbound.received == 5
        assert str(channel.error) == "reset"


class TestCallingOff:
    """At whatever moment: the connection is closed, and nobody hears of it any more."""

    @pytest.mark.parametrize("turns", range(8))
    def test_cancelled_after_some_turns(self, stage: Stage, turns: int) -> None:
        stage.target.delay = 0.01
        dialling, outcome, ours = opening(stage)
        for _ in range(turns):
            stage.crank.turn()
        if not outcome:
            dialling.cancel()
            assert isinstance(failure(outcome), CancelledError)
            stage.rest()
            assert ours.recv(1) == b""
            ours.close()
            stage.pass_time(stage.terms.resume_window + 2)
            stage.assert_all_gone()
        ours.close()

    @pytest.mark.parametrize("obstacle", ["swallows", "refuses"])
    def test_cancelled_while_it_cannot_connect(self, stage: Stage, obstacle: str) -> None:
        setattr(stage.cable, obstacle, True)
        dialling, outcome, ours = opening(stage)
        stage.pass_time(1)
        dialling.cancel()
        assert isinstance(failure(outcome), CancelledError)
        ours.close()
        attempts = stage.cable.attempts
        stage.pass_time(20)
        assert stage.cable.attempts == attempts
        stage.assert_all_gone()

    @pytest.mark.parametrize("obstacle", ["swallows", "refuses"])
    def test_an_entrance_that_is_reset_calls_off_what_it_was_opening(self, stage: Stage, obstacle: str) -> None:
        setattr(stage.cable, obstacle, True)
        near = stage.arrive()
        stage.pass_time(1)
        stage.forwarder.reset("no more")
        stage.rest()
        assert near.got_end
        stage.assert_all_gone()

    @pytest.mark.parametrize("obstacle", ["swallows", "refuses"])
    def test_a_source_that_is_stopped_calls_off_what_it_was_opening(self, stage: Stage, obstacle: str, said: list[str]) -> None:
        setattr(stage.cable, obstacle, True)
        near = stage.arrive()
        stage.pass_time(1)
        Deferred.fromCoroutine(stage.source.stop())
        stage.rest()
        assert near.got_end
        assert said == ["the source was stopped [reset]"]
        stage.assert_all_gone()

    @pytest.mark.parametrize("obstacle", ["swallows", "refuses"])
    def test_a_channel_that_ends_is_dialled_for_no_more(self, make_stage: Callable[..., Stage], obstacle: str) -> None:
        stage = make_stage(Terms(window=1 << 18, resume_window=20))
        stage.meet()
        setattr(stage.cable, obstacle, True)
        stage.cable.cut()
        stage.pass_time(25)
        attempts = stage.cable.attempts
        stage.pass_time(25)
        assert stage.cable.attempts == attempts
        stage.assert_all_gone()
