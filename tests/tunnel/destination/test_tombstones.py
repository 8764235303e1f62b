"""What is told of channels that are over, to whom, and for how long."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from nbdtun.errors import AlreadyComplete, ChannelReset, LinkLost, ResumeRefused
from nbdtun.tunnel.destination import tombstones
from nbdtun.tunnel.destination.tombstones import Tombstones

SECRET = b"s" * 32


def test_the_one_whose_it_was_is_told_and_nobody_else() -> None:
    kept = Tombstones(Clock().seconds, 10)
    kept.remember(b"1", "alice", SECRET, AlreadyComplete("done"))
    told = kept.find(b"1", "alice".__eq__, SECRET)
    assert (type(told), str(told)) == (AlreadyComplete, "done")
    assert kept.find(b"1", "bob".__eq__, SECRET) is None
    assert kept.find(b"2", "alice".__eq__, SECRET) is None


def test_a_lost_link_is_told_as_final() -> None:
    kept = Tombstones(Clock().seconds, 10)
    kept.remember(b"1", "", SECRET, LinkLost("no new link within 300 s"))
    told = kept.find(b"1", "".__eq__, SECRET)
    assert isinstance(told, ResumeRefused)
    assert str(told) == "no new link within 300 s"


def test_each_is_told_anew() -> None:
    """One object that is raised again and again keeps the frames of all who ever asked."""
    kept = Tombstones(Clock().seconds, 10)
    kept.remember(b"1", "", SECRET, ChannelReset("no more"))
    for _ in range(3):
        with pytest.raises(ChannelReset) as caught:
            raise kept.find(b"1", "".__eq__, SECRET) or AssertionError
        assert len(caught.traceback) == 1


def test_it_is_forgotten_in_time() -> None:
    clock = Clock()
    kept = Tombstones(clock.seconds, 10)
    for ident in (b"1", b"2"):
        kept.remember(ident, "", SECRET, ChannelReset("no more"))
        clock.advance(6)
    assert (b"1" in kept, b"2" in kept, len(kept)) == (False, True, 1)
    clock.advance(6)
    assert len(kept) == 0


def test_who_ends_many_channels_forgets_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "MAX_REMEMBERED", 5)
    kept = Tombstones(Clock().seconds, 10)
    kept.remember(b"mine", "alice", SECRET, AlreadyComplete("done"))
    for number in range(1000):
        kept.remember(b"%d" % number, "mallory", SECRET, ChannelReset("no more"))
    assert len(kept) == 5
    assert kept.find(b"mine", "alice".__eq__, SECRET) is not None


def test_without_the_channels_secret_nothing_is_told() -> None:
    tombstones = Tombstones(lambda: 0.0, 300)
    tombstones.remember(b"i" * 16, "dns:src1", SECRET, AlreadyComplete("it has ended"))
    assert tombstones.find(b"i" * 16, "dns:src1".__eq__, b"t" * 32) is None
    assert tombstones.find(b"i" * 16, "dns:src1".__eq__, b"") is None
    assert tombstones.find(b"i" * 16, "dns:src1".__eq__, SECRET) is not None
