"""The one question of a new connection, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbdtun.errors import NotAllowed
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.protocol.growth import START
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.source.client import Source
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger


def test_an_opened_channel_is_answered_with_its_terms(stage: Stage) -> None:
    stranger = Stranger(stage).open(window=1 << 30)
    assert stranger.hear_box() == {"_answer": b"1", "version": b"1", "features": b"", "received": b"0", "window": b"262144"}


def test_the_smaller_window_is_in_force(stage: Stage) -> None:
    assert Stranger(stage).open(window=100_000).hear_box()["window"] == b"100000"


def test_frames_follow_the_answer(stage: Stage) -> None:
    stranger = Stranger(stage).open()
    stranger.hear_box()
    stage.target.programs[0].send(b"welcome")
    stage.rest()
    acknowledgement, ping, data = stranger.hear_frames()
    assert acknowledgement == (Kind.ACK, 0, b"")
    assert ping[0] == Kind.PING
    assert data == (Kind.DATA, 0, b"welcome")


def test_an_unlisted_target_is_refused_by_name(stage: Stage, said: list[str]) -> None:
    answer = Stranger(stage).open(target="/etc/shadow").hear_box()
    assert answer["_error_code"] == b"target-unknown"
    assert answer["_error_description"] == b"the destination has no target '/etc/shadow'"
    assert said == ["refused a local peer: the destination has no target '/etc/shadow' [target-unknown]"]


def test_another_version_is_refused(stage: Stage) -> None:
    assert Stranger(stage).open(lowest=2, highest=3).hear_box()["_error_code"] == b"version"
    assert not stage.target.programs


def test_windows_beyond_the_spare_are_as_small_as_at_the_beginning(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Terms(window=1 << 26))
    stage.destination.runtime.spare.left = 1 << 25
    granted = [Stranger(stage).open(bytes([number]) * 16, window=1 << 26).hear_box()["window"] for number in range(3)]
    assert granted == [b"%d" % (START + (1 << 25)), b"%d" % START, b"%d" % START]
    stage.pass_time(stage.terms.resume_window + 1)


@pytest.mark.parametrize(("ident", "window"), [(b"short", 1 << 20), (b"i" * 17, 1 << 20), (b"i" * 16, 100), (b"i" * 16, -1)])
def test_absurd_terms_are_refused(stage: Stage, ident: bytes, window: int) -> None:
    stranger = Stranger(stage).open(ident, window=window)
    assert stranger.hear_box()["_error_code"] == b"protocol"
    stranger.hang_up()
    stage.assert_all_gone()


def test_a_caller_that_has_proved_itself_needs_no_tls(make_stage: Callable[..., Stage], tls_dir: Path) -> None:
    stage = make_stage(Terms(window=1 << 18), tls_dir=tls_dir)
    stranger = Stranger(stage, caller=Caller("the source, through ssh", "ssh", "its identity")).open(secret=b"s" * 32)
    assert "received" in stranger.hear_box()
    assert next(iter(stage.destination._entries.values())).caller.identity == "its identity"


def test_a_peer_that_cannot_be_examined_is_not_admitted(
    make_stage: Callable[..., Stage], tls_dir: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """It would have no identity, as without TLS, and need no secret."""

    def stumble(*_: object) -> None:
        raise ValueError("strange certificate")

    stage = make_stage(tls_dir=tls_dir)
    monkeypatch.setattr(stage.destination._tls, "check", stumble)
    monkeypatch.setattr(Source, "new_secret", lambda _: b"")
    stage.arrive()
    stage.pass_time(1)
    assert isinstance(stage.forwarder.trouble, NotAllowed)
    assert not stage.target.programs
    assert any(line.endswith("the destination could not examine it: ValueError('strange certificate') [not-allowed]") for line in said)


def test_an_opening_that_is_repeated_connects_to_the_target_once(stage: Stage) -> None:
    first = Stranger(stage).open()
    stage.target.programs[0].send(b"welcome")
    stage.rest()
    again = Stranger(stage).open()
    assert len(stage.target.programs) == 1
    assert first.closed
    assert again.hear_box()["received"] == b"0"
    assert again.hear_frames()[-1] == (Kind.DATA, 0, b"welcome")


@pytest.mark.parametrize("other", [{"target": "slow"}, {"window": 1 << 17}], ids=str)
def test_an_opening_that_is_repeated_is_the_same(stage: Stage, other: dict[str, Any]) -> None:
    """Else the source would believe that it speaks to another target, or keeps less."""
    first, again = Stranger(stage).open(), Stranger(stage).open(**other)
    assert again.hear_box()["_error_code"] == b"protocol"
    assert "received" in first.hear_box()
    first.say(encode(Kind.DATA, 0, b"still here"))
    assert bytes(stage.target.programs[0].got) == b"still here"


def test_an_opening_that_is_repeated_while_the_target_is_slow(stage: Stage) -> None:
    stage.target.delay = 1.0
    first, again = Stranger(stage).open(), Stranger(stage).open()
    stage.pass_time(2)
    assert len(stage.target.programs) == 1
    assert first.closed
    assert "received" in again.hear_box()


def test_both_who_wait_for_an_unreachable_target_are_told(stage: Stage) -> None:
    stage.target.delay = 1.0
    stage.target.refuse("target disk: nobody there")
    first, again = Stranger(stage).open(), Stranger(stage).open()
    stage.pass_time(2)
    assert first.hear_box()["_error_description"] == again.hear_box()["_error_description"] == b"target disk: nobody there"


def test_who_hangs_up_while_the_target_is_slow_leaves_a_channel_that_expires(stage: Stage) -> None:
    stage.target.delay = 1.0
    stranger = Stranger(stage).open()
    stranger.hang_up()
    stage.pass_time(400)
    assert stage.target.programs[0].got_end
    stage.assert_all_gone()


def test_several_who_hang_up_while_the_target_is_slow(stage: Stage) -> None:
    stage.target.delay = 1.0
    for stranger in [Stranger(stage).open() for _ in range(3)]:
        stranger.hang_up()
    stage.pass_time(400)
    stage.assert_all_gone()


def test_who_has_hung_up_does_not_displace_who_is_there(stage: Stage) -> None:
    stage.target.delay = 1.0
    gone, here = Stranger(stage).open(), Stranger(stage).open()
    gone.hang_up()
    stage.pass_time(2)
    assert "received" in here.hear_box()
    stage.target.programs[0].send(b"welcome")
    stage.rest()
    assert here.hear_frames()[-1] == (Kind.DATA, 0, b"welcome")
