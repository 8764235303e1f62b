"""The destination, asked by its sources; their first question is in test_opening, strangers are in test_strangers."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nbdtun.errors import AlreadyComplete, ChannelReset
from nbdtun.tunnel.destination.entries import Traffic
from nbdtun.tunnel.protocol.frames import Kind, encode
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

OTHER = b"o" * 16


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
