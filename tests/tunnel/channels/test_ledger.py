"""What one end's channels have carried: by kind of target, those that have ended included."""

from __future__ import annotations

from nbdtun.errors import ChannelReset
from nbdtun.tunnel.channels.ledger import Account, Ledger
from nbdtun.tunnel.settings import kind_of
from tests.tunnel.stage.stage import Stage


def test_both_ends_keep_the_same_accounts(stage: Stage) -> None:
    near, far = stage.meet()
    near.send(b"x" * 1000)
    stage.pass_time(1)
    here, there = stage.source.ledger, stage.destination.ledger
    assert here.accounts == {"disk": Account(open=1, sent=1000)}
    assert there.accounts == {"disk": Account(open=1, received=1000)}
    near.shut()
    far.shut()
    stage.pass_time(1)
    assert here.accounts == {"disk": Account(ended=1, sent=1000)}  # the end of a stream is no byte
    assert there.accounts == {"disk": Account(ended=1, received=1000)}
    assert repr(here) == "<Ledger of disk>"


def test_a_channel_that_fails_is_told_apart(stage: Stage) -> None:
    stage.meet()
    stage.near.reset(ChannelReset("given up"))
    stage.pass_time(1)
    assert stage.source.ledger.whole == stage.destination.ledger.whole == Account(ended=1, failed=1)


def test_an_end_without_channels() -> None:
    assert Ledger(()).whole == Account()
    assert repr(Ledger(())) == "<Ledger of nothing>"


def test_sessions_are_counted_together() -> None:
    assert kind_of(f"nbd.{'0f' * 16}") == kind_of(f"nbd.{'a0' * 16}") == "nbd"
    assert kind_of("disk") == "disk"
    assert kind_of("0f" * 16) == "0f" * 16  # an operator's own name
