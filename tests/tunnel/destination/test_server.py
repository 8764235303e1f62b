"""The destination, asked by its sources; others are in test_destination_strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from nbdtun.errors import AlreadyComplete, ChannelReset, NotAllowed
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.entries import Traffic
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.protocol.growth import START
from nbdtun.tunnel.settings import Limits, Terms
from nbdtun.tunnel.source.client import Source
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

OTHER = b"o" * 16


class TestOpening:
    def test_an_opened_channel_is_answered_with_its_terms(self, stage: Stage) -> None:
        stranger = Stranger(stage).open(window=1 << 30)
        assert stranger.hear_box() == {"_answer": b"1", "version": b"1", "features": b"", "received": b"0", "window": b"262144"}

    def test_the_smaller_window_is_in_force(self, stage: Stage) -> None:
        assert Stranger(stage).open(window=100_000).hear_box()["window"] == b"100000"

    def test_frames_follow_the_answer(self, stage: Stage) -> None:
        stranger = Stranger(stage).open()
        stranger.hear_box()
        stage.target.programs[0].send(b"welcome")
        stage.rest()
        acknowledgement, ping, data = stranger.hear_frames()
        assert acknowledgement == (Kind.ACK, 0, b"")
        assert ping[0] == Kind.PING
        assert data == (Kind.DATA, 0, b"welcome")

    def test_an_unlisted_target_is_refused_by_name(self, stage: Stage, said: list[str]) -> None:
        answer = Stranger(stage).open(target="/etc/shadow").hear_box()
        assert answer["_error_code"] == b"target-unknown"
        assert answer["_error_description"] == b"the destination has no target '/etc/shadow'"
        assert said == ["refused a local peer: the destination has no target '/etc/shadow' [target-unknown]"]

    def test_another_version_is_refused(self, stage: Stage) -> None:
        assert Stranger(stage).open(lowest=2, highest=3).hear_box()["_error_code"] == b"version"
        assert not stage.target.programs

    def test_windows_beyond_the_spare_are_as_small_as_at_the_beginning(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 26))
        stage.destination.runtime.spare.left = 1 << 25
        granted = [Stranger(stage).open(bytes([number]) * 16, window=1 << 26).hear_box()["window"] for number in range(3)]
        assert granted == [b"%d" % (START + (1 << 25)), b"%d" % START, b"%d" % START]
        stage.pass_time(stage.terms.resume_window + 1)

    @pytest.mark.parametrize(("ident", "window"), [(b"short", 1 << 20), (b"i" * 17, 1 << 20), (b"i" * 16, 100), (b"i" * 16, -1)])
    def test_absurd_terms_are_refused(self, stage: Stage, ident: bytes, window: int) -> None:
        stranger = Stranger(stage).open(ident, window=window)
        assert stranger.hear_box()["_error_code"] == b"protocol"
        stranger.hang_up()
        stage.assert_all_gone()

    def test_too_many_channels_are_refused(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=2))
        assert "received" in Stranger(stage).open(b"1" * 16).hear_box()
        assert "received" in Stranger(stage).open(b"2" * 16).hear_box()
        refused = Stranger(stage).open(b"3" * 16).hear_box()
        assert refused["_error_code"] == b"too-many-channels"
        assert b"has reached its limit of 2 channels (--max-channels)" in refused["_error_description"]

    def test_a_caller_that_has_proved_itself_needs_no_tls(self, make_stage: Callable[..., Stage], tls_dir: Path) -> None:
        stage = make_stage(Terms(window=1 << 18), tls_dir=tls_dir)
        stranger = Stranger(stage, caller=Caller("the source, through ssh", "ssh", "its identity")).open(secret=b"s" * 32)
        assert "received" in stranger.hear_box()
        assert next(iter(stage.destination._entries.values())).caller.identity == "its identity"

    def test_a_peer_that_cannot_be_examined_is_not_admitted(
        self, make_stage: Callable[..., Stage], tls_dir: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
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

    def test_a_channel_that_is_taken_up_again_is_not_one_more(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=1, channels_per_peer=1))
        Stranger(stage).open(b"1" * 16).hang_up()
        assert "received" in Stranger(stage).resume(b"1" * 16).hear_box()
        assert "received" in Stranger(stage).open(b"1" * 16).hear_box()

    def test_one_peer_has_a_share_of_the_channels(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=3, channels_per_peer=1))
        assert "received" in Stranger(stage).open(b"1" * 16).hear_box()
        refused = Stranger(stage).open(b"2" * 16).hear_box()
        assert refused["_error_code"] == b"too-many-channels"
        assert b"has reached its limit of 1 channels for this source" in refused["_error_description"]
        assert "received" in Stranger(stage, address=IPv4Address("TCP", "192.0.2.1", 1)).open(b"3" * 16).hear_box()

    def test_an_opening_that_is_repeated_connects_to_the_target_once(self, stage: Stage) -> None:
        first = Stranger(stage).open()
        stage.target.programs[0].send(b"welcome")
        stage.rest()
        again = Stranger(stage).open()
        assert len(stage.target.programs) == 1
        assert first.closed
        assert again.hear_box()["received"] == b"0"
        assert again.hear_frames()[-1] == (Kind.DATA, 0, b"welcome")

    @pytest.mark.parametrize("other", [{"target": "slow"}, {"window": 1 << 17}], ids=str)
    def test_an_opening_that_is_repeated_is_the_same(self, stage: Stage, other: dict[str, Any]) -> None:
        """Else the source would believe that it speaks to another target, or keeps less."""
        first, again = Stranger(stage).open(), Stranger(stage).open(**other)
        assert again.hear_box()["_error_code"] == b"protocol"
        assert "received" in first.hear_box()
        first.say(encode(Kind.DATA, 0, b"still here"))
        assert bytes(stage.target.programs[0].got) == b"still here"

    def test_an_opening_that_is_repeated_while_the_target_is_slow(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        first, again = Stranger(stage).open(), Stranger(stage).open()
        stage.pass_time(2)
        assert len(stage.target.programs) == 1
        assert first.closed
        assert "received" in again.hear_box()

    def test_both_who_wait_for_an_unreachable_target_are_told(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        stage.target.refuse("target disk: nobody there")
        first, again = Stranger(stage).open(), Stranger(stage).open()
        stage.pass_time(2)
        assert first.hear_box()["_error_description"] == again.hear_box()["_error_description"] == b"target disk: nobody there"

    def test_who_hangs_up_while_the_target_is_slow_leaves_a_channel_that_expires(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        stranger = Stranger(stage).open()
        stranger.hang_up()
        stage.pass_time(400)
        assert stage.target.programs[0].got_end
        stage.assert_all_gone()

    def test_several_who_hang_up_while_the_target_is_slow(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        for stranger in [Stranger(stage).open() for _ in range(3)]:
            stranger.hang_up()
        stage.pass_time(400)
        stage.assert_all_gone()

    def test_who_has_hung_up_does_not_displace_who_is_there(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        gone, here = Stranger(stage).open(), Stranger(stage).open()
        gone.hang_up()
        stage.pass_time(2)
        assert "received" in here.hear_box()
        stage.target.programs[0].send(b"welcome")
        stage.rest()
        assert here.hear_frames()[-1] == (Kind.DATA, 0, b"welcome")


class TestResuming:
    def test_it_says_how_much_it_has(self, stage: Stage) -> None:
        stranger = Stranger(stage).open()
        stranger.say(encode(Kind.DATA, 0, b"12345"))
        stranger.hang_up()
        assert Stranger(stage).resume().hear_box()["received"] == b"5"

    def test_an_unknown_channel_is_refused(self, stage: Stage) -> None:
        answer = Stranger(stage).resume(OTHER).hear_box()
        assert answer["_error_code"] == b"resume-refused"
        assert OTHER.hex()[:8].encode() in answer["_error_description"]

    def test_another_identity_is_told_the_same_as_for_an_unknown_channel(self, stage: Stage) -> None:
        Stranger(stage).open()
        (entry,) = stage.destination._entries.values()
        stage.destination._entries[b"i" * 16] = evolve(entry, caller=evolve(entry.caller, identity="another fingerprint"))
        assert Stranger(stage).resume().hear_box()["_error_code"] == b"resume-refused"
        assert Stranger(stage).open().hear_box()["_error_code"] == b"resume-refused"

    def test_an_ended_channel_is_remembered_for_a_while(self, stage: Stage) -> None:
        Stranger(stage).open()
        stage.far.reset(ChannelReset("no more"))
        stage.rest()
        answer = Stranger(stage).resume().hear_box()
        assert (answer["_error_code"], answer["_error_description"]) == (b"reset", b"no more")
        stage.pass_time(stage.terms.resume_window + 2)
        assert Stranger(stage).resume().hear_box()["_error_code"] == b"resume-refused"

    def test_a_complete_channel_is_remembered_as_such(self, stage: Stage) -> None:
        near, far = stage.meet()
        ident = stage.far.ident
        near.shut()
        far.shut()
        stage.pass_time(1)
        assert Stranger(stage).resume(ident).hear_box()["_error_code"] == AlreadyComplete.code.encode()

    def test_an_expired_channel_is_refused_for_good(self, stage: Stage) -> None:
        """Told as a lost link, the source would only try again."""
        Stranger(stage).open().hang_up()
        stage.pass_time(stage.terms.resume_window + 1)
        answer = Stranger(stage).resume().hear_box()
        assert answer["_error_code"] == b"resume-refused"
        assert b"no new link" in answer["_error_description"]

    def test_an_offset_that_was_never_sent_ends_the_channel(self, stage: Stage) -> None:
        first = Stranger(stage).open()
        first.hear_box()
        answer = Stranger(stage).resume(received=1).hear_box()
        assert answer["_error_code"] == b"protocol"
        assert first.hear_frames()[-1][0] is Kind.RESET
        assert not stage.destination.channels

    def test_an_old_request_that_comes_late_does_not_disturb_the_channel(self, stage: Stage) -> None:
        stage.cable.lines.clear()
        stranger = Stranger(stage).open()
        stranger.hear_box()
        stage.target.programs[0].send(b"12345")
        stage.rest()
        stranger.say(encode(Kind.ACK, 5))
        late = Stranger(stage).resume(received=3)
        assert late.hear_box()["_error_code"] == b"resume-refused"
        assert not stranger.closed
        stage.target.programs[0].send(b"67")
        stage.rest()
        assert stranger.hear_frames()[-1] == (Kind.DATA, 5, b"67")

    def test_a_newer_link_displaces_an_older_one(self, stage: Stage) -> None:
        old = Stranger(stage).open()
        new = Stranger(stage).resume()
        assert old.closed
        assert "received" in new.hear_box()
        new.hang_up()
        stage.pass_time(stage.terms.resume_window + 1)
        stage.assert_all_gone()


class TestStopping:
    def test_a_stop_ends_channels_and_connections(self, stage: Stage) -> None:
        near, far = stage.meet()
        waiting = Stranger(stage)
        stage.rest()
        Deferred.fromCoroutine(stage.destination.stop())
        stage.rest()
        assert waiting.closed
        assert near.got_end
        assert far.got_end
        stage.pass_time(20)
        stage.assert_all_gone()

    def test_a_channel_whose_target_comes_after_the_stop_is_not_made(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        Stranger(stage).open()
        Deferred.fromCoroutine(stage.destination.stop())
        stage.pass_time(2)
        assert all(program.got_end for program in stage.target.programs)
        stage.assert_all_gone()

    def test_what_is_left_is_looked_for_until_somebody_refuses_it(self, stage: Stage, said: list[str]) -> None:
        """Its source is told nothing: it dials, and the program there waits."""
        near, far = stage.meet()
        waiting = Stranger(stage)
        stage.rest()
        stage.cable.refuses = True
        stage.destination.leave()
        stage.pass_time(5)
        assert waiting.closed
        assert far.got_end
        assert not near.got_end
        assert not any("failed" in line for line in said)
        stage.cable.refuses = False
        stage.pass_time(10)  # another daemon does not know it, and this one has put it on no list of ended ones
        assert near.got_end
        stage.assert_all_gone()

    def test_what_is_still_being_connected_is_left_too(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        near = stage.arrive()
        stage.pass_time(0.5)
        stage.cable.refuses = True
        stage.destination.leave()
        stage.pass_time(stage.terms.handshake_timeout + 5)
        assert near.got_end
        stage.assert_all_gone()

    def test_the_ends_of_channels_can_be_waited_for(self, stage: Stage) -> None:
        near, far = stage.meet()
        assert Deferred.fromCoroutine(stage.destination.drained(["another"])).called
        drained = Deferred.fromCoroutine(stage.destination.drained(["disk"]))
        assert stage.destination.names(["disk"]) == [stage.far.name]
        stage.target.delay = 1.0
        late = stage.arrive()
        near.shut()
        far.shut()
        stage.pass_time(0.5)
        assert not drained.called  # one is still being opened
        late.shut()
        stage.pass_time(2)
        stage.target.programs[-1].shut()
        stage.pass_time(1)
        assert drained.called
        stage.assert_all_gone()

    def test_what_has_arrived_is_counted_for_a_target_until_it_is_forgotten(self, stage: Stage) -> None:
        near, far = stage.meet()
        near.send(b"x" * 1000)
        stage.pass_time(1)
        traffic = stage.destination.traffic("disk")
        assert traffic.received == 1000
        assert traffic.caller is not None
        assert traffic.caller.peer == "a local peer"
        near.shut()
        far.shut()
        stage.pass_time(1)
        more, _ = stage.meet()
        more.send(b"y" * 500)
        stage.pass_time(1)
        assert stage.destination.traffic("disk").received == 1500
        assert stage.destination.traffic("another") == Traffic(0, None)
        stage.destination.reset("disk", "its VM is gone")
        stage.destination.forget("disk")
        stage.pass_time(1)
        assert stage.destination.traffic("disk") == Traffic(0, None)

    def test_a_target_can_be_reset_alone(self, stage: Stage) -> None:
        near, _ = stage.meet()
        stage.destination.reset("another", "not meant")
        stage.rest()
        assert not near.got_end
        stage.destination.reset("disk", "its VM is gone")
        stage.rest()
        assert near.got_end
        assert str(stage.forwarder.trouble) == "its VM is gone"

    def test_a_target_is_reset_while_it_is_connected_to(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        asking = Stranger(stage).open()
        stage.rest()
        stage.destination.reset("disk", "its VM is gone")
        stage.pass_time(2)
        assert not stage.destination.channels
        assert all(program.got_end for program in stage.target.programs)
        assert asking.hear_box()["_error_description"] == b"the destination gave up target disk while it was connecting to it"
