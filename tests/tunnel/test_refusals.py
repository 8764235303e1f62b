"""How much of the log can be filled from outside."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from nbdtun.errors import LinkLost, TLSError
from nbdtun.tunnel.refusals import LINES, LINES_EACH, PERIOD, Refusals


class Log:
    """Keeps what it is told, as text and as data."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.codes: list[str] = []

    def warn(self, text: str, **values: Any) -> None:
        self.lines.append(text.format(**values))
        self.codes.append(values["code"])


def test_a_few_are_told_one_by_one() -> None:
    log, clock = Log(), Clock()
    refusals = Refusals(log, clock.callLater)
    refusals.tell("a", TLSError("a:1: it speaks no TLS 1.3"))
    clock.advance(PERIOD)
    assert log.lines == ["refused a:1: it speaks no TLS 1.3 [tls]"]
    assert log.codes == ["tls"]
    assert not clock.calls


def test_one_address_has_a_few_lines_and_the_others_have_theirs() -> None:
    log, clock = Log(), Clock()
    refusals = Refusals(log, clock.callLater)
    for number in range(100):
        refusals.tell("flood", LinkLost(f"flood:{number}: no answer in 10 s"))
    refusals.tell("b", TLSError("b:1: its certificate has expired"))
    assert len(log.lines) == LINES_EACH + 1
    assert log.lines[-1] == "refused b:1: its certificate has expired [tls]"
    clock.advance(PERIOD)
    assert log.lines[-1] == f"refused {100 - LINES_EACH} more in {PERIOD:.0f} s, lastly flood:99: no answer in 10 s [link-lost]"


def test_all_addresses_together_have_a_limit_and_then_it_begins_again() -> None:
    log, clock = Log(), Clock()
    refusals = Refusals(log, clock.callLater)
    for while_ in (1, 2, 3):
        for number in range(1000):
            refusals.tell(f"address {number}", LinkLost("gone"))
        assert len(log.lines) == while_ * (LINES + 1) - 1
        clock.advance(PERIOD)
        assert len(log.lines) == while_ * (LINES + 1)


def test_what_a_peer_has_put_into_it_is_one_line() -> None:
    log = Log()
    Refusals(log, Clock().callLater).tell("a", LinkLost("a:1: \x1b[2J\nrefused b:1: nothing"))
    assert log.lines == ["refused a:1: ?[2J refused b:1: nothing [link-lost]"]
