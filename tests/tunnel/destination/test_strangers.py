"""The destination among strangers: garbage, silence, floods, and talk out of turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nbdtun.tunnel.destination.allowlist import AllowList
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.runtime.log_limits import PERIOD, REFUSALS_EACH
from nbdtun.tunnel.settings import Limits, Terms
from tests.failures import nothing_logged
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import OFFER, Stranger, box

OTHER = b"o" * 16


class TestStrangers:
    """Nothing that anybody sends does more than end his own connection."""

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\0\0",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\xff" * 3000,
            b"\0\x01a",
            encode(Kind.DATA, 0, b"12345"),
            box(nothing="known"),
            box(_answer="7"),
            box(_error="7"),
            box(_error="7", _error_code="X", _error_description="?"),
            box(_command="StartTLS", _ask="1"),
            box(_command="Unknown", _ask="1"),
            box(_command="Unknown"),
            box(_command="OpenChannel", _ask="1"),
            box(_command="OpenChannel", _ask="1", **OFFER | {"lowest": "x"}, channel="i", target="disk", window="1"),
            box(_command="OpenChannel", _ask="1", **OFFER, channel="i" * 16, target=b"\xff\xfe", window="100000"),
            box(_command="ResumeChannel", _ask="1", **OFFER, channel="i" * 16, received="9" * 5000),
        ],
        ids=lambda garbage: repr(garbage[:20]),
    )
    def test_garbage_opens_nothing_and_leaves_no_trace(self, stage: Stage, garbage: bytes) -> None:
        stranger = Stranger(stage).say(garbage)
        stage.pass_time(stage.terms.handshake_timeout + 1)
        assert stranger.closed
        assert not stage.target.programs
        stage.assert_all_gone()

    @pytest.mark.parametrize("urgent", ["maybe", "x" * 15_000], ids=len)
    def test_a_malformed_command_is_one_short_line(self, stage: Stage, said: list[str], urgent: str) -> None:
        with nothing_logged():
            stranger = Stranger(stage).ask("OpenChannel", **OFFER, channel=OTHER, target="disk", window=1 << 18, urgent=urgent)
        assert stranger.hear_box()["_error_code"] == b"protocol"
        assert said == ["refused a local peer: neither True nor False [protocol]"]
        assert not stage.target.programs

    def test_one_that_is_not_admitted_is_refused_for_that_alone(self, make_stage: Callable[..., Stage], said: list[str]) -> None:
        stage = make_stage(allow=AllowList(("nobody",)))
        with nothing_logged():
            fields = {"version": 1, "channel": OTHER, "target": "disk", "window": 1 << 18, "urgent": "x" * 15_000}
            stranger = Stranger(stage).ask("OpenChannel", **fields)
        assert "_error_code" in stranger.hear_box()
        assert len(said) == 1
        assert said[0].endswith("[not-allowed]")
        assert len(said[0]) < 200

    def test_a_silent_connection_is_closed(self, stage: Stage) -> None:
        stranger = Stranger(stage)
        stage.pass_time(stage.terms.handshake_timeout - 1)
        assert not stranger.closed
        stage.pass_time(2)
        assert stranger.closed
        stage.assert_all_gone()

    def test_a_slow_speaker_is_closed(self, stage: Stage) -> None:
        stranger = Stranger(stage)
        for letter in box(_command="OpenChannel", _ask="1"):
            stage.pass_time(1)
            stranger.say(bytes([letter]))
        assert stranger.closed

    def test_too_much_talk_before_a_channel_is_opened(self, stage: Stage) -> None:
        stranger = Stranger(stage)
        for _ in range(400):
            stranger.ask("Unknown", padding="x" * 60)
        assert stranger.closed
        stage.assert_all_gone()

    def test_of_more_connections_than_are_allowed_the_oldest_go(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), limits=Limits(handshakes=2))
        silent = [Stranger(stage) for _ in range(3)]
        stage.rest()
        assert [stranger.closed for stranger in silent] == [True, False, False]
        assert "received" in Stranger(stage).open().hear_box()

    def test_a_channel_is_taken_up_again_in_the_middle_of_a_flood(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), limits=Limits(handshakes=4))
        near, far = stage.meet()
        stage.cable.cut()
        for _ in range(50):
            Stranger(stage)
            stage.pass_time(0.1)
        near.send(b"still here")
        stage.pass_time(1)
        assert far.got == b"still here"
        assert stage.near.resumes >= 1

    def test_who_has_asked_for_a_channel_is_not_displaced_by_strangers(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), limits=Limits(handshakes=2))
        stage.target.delay = 1.0
        asked = Stranger(stage).open()
        strangers = [Stranger(stage) for _ in range(9)]
        stage.pass_time(2)
        assert "received" in asked.hear_box()
        assert sum(not stranger.closed for stranger in strangers) == 2

    def test_a_flood_of_refusals_is_a_few_lines(self, stage: Stage, said: list[str]) -> None:
        for _ in range(200):
            Stranger(stage).resume(OTHER).hang_up()
        assert len(said) == REFUSALS_EACH
        stage.pass_time(PERIOD + 3)
        assert said[REFUSALS_EACH].startswith("refused 195 more in 60 s, the last one: a local peer: the destination has no channel")
        Stranger(stage).resume(OTHER)
        assert len(said) == REFUSALS_EACH + 2

    def test_one_connection_opens_one_channel(self, stage: Stage) -> None:
        """A second one could never become a link, so nothing would ever end it."""
        opened = [box(_command="OpenChannel", _ask=n, **OFFER, channel=bytes([n]) * 16, target="disk", window=1 << 18) for n in (1, 2)]
        stage.target.delay = 1.0
        Stranger(stage).say(b"".join(opened))
        stage.pass_time(2)
        assert len(stage.destination.channels) <= 1
        assert len(stage.target.programs) <= 1

    def test_a_command_that_wants_no_answer_opens_nothing(self, stage: Stage) -> None:
        stranger = Stranger(stage).say(box(_command="OpenChannel", **OFFER, channel="i" * 16, target="disk", window=1 << 18))
        assert not stage.target.programs
        assert stranger.closed

    @pytest.mark.parametrize(
        "early", [encode(Kind.ACK, 0) + encode(Kind.DATA, 0, b"early"), b"\0", box(_command="Greet", _ask="2", **OFFER)]
    )
    @pytest.mark.parametrize(("delay", "together"), [(0.0, True), (1.0, True), (1.0, False)], ids=["at once", "together", "later"])
    def test_what_comes_before_the_answer_closes_the_connection(
        self, stage: Stage, said: list[str], early: bytes, delay: float, together: bool
    ) -> None:
        """However fast the target is connected to, and in however many pieces it comes."""
        stage.target.delay = delay
        question = box(_command="OpenChannel", _ask="1", **OFFER, channel=OTHER, target="disk", window=1 << 18)
        stranger = Stranger(stage)
        for piece in [question + early] if together else [question, early]:
            stranger.say(piece)
        stage.pass_time(2)
        assert stranger.closed
        assert stranger.program.got == b""
        assert said[0] == "refused a local peer: it sent more before the answer to its question [protocol]"
        stage.pass_time(stage.terms.resume_window + 1)
        assert not stage.target.programs or not stage.target.programs[0].got
        stage.assert_all_gone()

    def test_one_that_resumes_too_eagerly_has_its_channel_still(self, stage: Stage) -> None:
        first = Stranger(stage).open(OTHER)
        first.hear_box()
        resume = box(_command="ResumeChannel", _ask="1", **OFFER, channel=OTHER, received=0)
        eager = Stranger(stage).say(resume + encode(Kind.ACK, 0))
        assert eager.closed
        assert not first.closed
        assert "received" in Stranger(stage).resume(OTHER).hear_box()


@pytest.mark.parametrize("insecure", [False, True])
def test_without_tls_another_user_of_this_host_is_refused(
    insecure: bool, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr("nbdtun.tunnel.destination.admission.stranger", lambda sock, **_: "uid 1000 is at the other end")
    stage = make_stage(insecure=insecure)
    answer = Stranger(stage).ask("OpenChannel", **OFFER, channel=OTHER, target="disk", window=1 << 18).hear_box()
    assert (answer.get("_error_code") == b"not-allowed") is not insecure
    assert len(said) == (0 if insecure else 1)


def test_without_tls_a_destination_of_another_user_is_refused(make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.tunnel.source.dialer.stranger", lambda sock, **_: "uid 1000 is at the other end")
    stage = make_stage()
    stage.arrive()
    stage.pass_time(20)
    assert "the cable: uid 1000 is at the other end" in str(stage.forwarder.trouble)
    assert not stage.target.programs
