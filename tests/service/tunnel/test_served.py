"""A port whose process has ended; with a real one killed, it is in tests/integration/libvirt_moves and test_code.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, fail, succeed
from twisted.internet.error import ConnectionRefusedError, NoRouteError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import ResumeRefused
from nbdtun.service.tunnel.served import REFUSED, WhileServed
from nbdtun.tunnel.runtime.contact import Contact


class Port:
    """A port, dialled once a second: what comes of each attempt."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answer: Exception | str = "connected"
        endpoint: Any = SimpleNamespace(connect=lambda factory: fail(self.answer) if isinstance(self.answer, Exception) else succeed(1))
        self.contact = Contact(self.clock.seconds)
        self._served = WhileServed(self.clock, endpoint, "dest:10810", self.contact)

    def dial(self, seconds: float, answer: Exception | str) -> Any:
        """Dial for so long; the last outcome."""
        self.answer, got, factory = answer, list[Any](), Any
        for _ in range(int(seconds)):
            got.clear()
            self._served.connect(factory).addBoth(got.append)  # type: ignore[arg-type]
            self.clock.advance(1)
        return got[0].value if isinstance(got[0], Failure) else got[0]


def test_one_that_has_hung_up_and_refuses_is_gone() -> None:
    port = Port()
    port.contact.hung_up = True
    assert isinstance(port.dial(REFUSED, ConnectionRefusedError()), ConnectionRefusedError)
    gone = port.dial(1, ConnectionRefusedError())
    assert isinstance(gone, ResumeRefused)
    assert gone.line == (
        "dest:10810: the links were closed, and connections refused for 5 s, so the destination's daemon has ended; start it, and try again"
        " [resume-refused]"
    )
    assert port.dial(1, "connected") == 1
    assert isinstance(port.dial(REFUSED, ConnectionRefusedError()), ConnectionRefusedError), "another one was started"


def test_one_that_only_refuses_is_behind_a_firewall_or_not_yet_there() -> None:
    port = Port()
    assert isinstance(port.dial(60 * REFUSED, ConnectionRefusedError()), ConnectionRefusedError)
    port.contact.hung_up = True
    port.contact.linked()
    assert isinstance(port.dial(60 * REFUSED, ConnectionRefusedError()), ConnectionRefusedError)


@pytest.mark.parametrize("other", [NoRouteError(), CancelledError(), "connected"])
def test_a_network_that_is_away_in_between_starts_the_count_anew(other: Exception | str) -> None:
    port = Port()
    port.contact.hung_up = True
    port.dial(REFUSED, ConnectionRefusedError())
    port.dial(1, other)
    assert isinstance(port.dial(REFUSED, ConnectionRefusedError()), ConnectionRefusedError)
    assert isinstance(port.dial(1, ConnectionRefusedError()), ResumeRefused)
