"""What a daemon does, in the words of `systemctl status`."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from twisted.internet.task import Clock

from nbdtun.service.doing import Pace, doing
from nbdtun.tunnel.channels.ledger import Account


def test_the_pace_is_that_between_two_looks() -> None:
    clock, ledger = Clock(), Mock(whole=Account())
    pace = Pace(ledger, clock.seconds)
    ledger.whole = Account(sent=1000, received=2000)
    clock.advance(2)
    assert pace.look() == 1500
    clock.advance(1)
    assert pace.look() == 0
    ledger.whole = Account(sent=1500, received=2000)
    assert pace.look() == 0  # no time has passed


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ((0, 0, 0.0), "nothing under way"),
        ((2, 8, 1.1 * 2**30), "2 VMs arriving, 1.1 GiB/s"),
        ((1, 4, 0.0), "1 VM arriving"),
        ((0, 1, 512.0), "1 channel open, 512 B/s"),
        ((0, 3, 0.0), "3 channels open"),
        ((1, 4, 2048.0, ["the memory of web1"]), "shutting down, waiting for the memory of web1, 2 KiB/s"),
        ((0, 0, 0.0, []), "shutting down, waiting for nothing"),
    ],
)
def test_words(of: Any, words: str) -> None:
    assert doing(*of) == words
