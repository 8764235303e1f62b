from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from nbdtun.errors import LinkLost, TLSError
from nbdtun.tunnel.runtime.log_limits import LINES, PERIOD, REFUSALS, REFUSALS_EACH, LineLimit, RefusalLog
from nbdtun.tunnel.settings import Terms
from tests.tunnel.stage.stage import Stage


def test_so_many_lines_in_a_while_and_a_count_of_the_others(said: list[str]) -> None:
    later: list[Any] = []
    line_limit = LineLimit(lambda *call: later.append(call))
    assert [line_limit.allows() for _ in range(LINES + 3)] == [True] * LINES + [False] * 3
    ((seconds, account),) = later
    assert seconds == PERIOD
    account()
    assert said == ["3 more lines about channels suppressed in 60 s"]
    assert line_limit.allows()


def test_a_quiet_while_says_nothing(said: list[str]) -> None:
    later: list[Any] = []
    line_limit = LineLimit(lambda *call: later.append(call))
    assert line_limit.allows()
    later[0][1]()
    assert said == []
    assert repr(line_limit) == "<LineLimit 0>"


def test_links_that_are_cut_again_and_again_do_not_fill_the_log(said: list[str], make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Terms(window=1 << 18))
    near, _ = stage.meet()
    for _ in range(300):
        near.send(b"x")  # each of them was good for something, so the next comes at once
        stage.pass_time(0.1)
        stage.cable.cut()
        stage.rest()
    assert stage.source.ledger.whole.resumes == 300
    assert len(said) < 2 * LINES + 5
    near.close()
    stage.pass_time(400)


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
    refusals = RefusalLog(log, clock.callLater)
    refusals.report("a", TLSError("a:1: it does not support TLS 1.3"))
    clock.advance(PERIOD)
    assert log.lines == ["refused a:1: it does not support TLS 1.3 [tls]"]
    assert log.codes == ["tls"]
    assert not clock.calls


def test_one_address_has_a_few_lines_and_the_others_have_theirs() -> None:
    log, clock = Log(), Clock()
    refusals = RefusalLog(log, clock.callLater)
    for number in range(100):
        refusals.report("flood", LinkLost(f"flood:{number}: no answer in 10 s"))
    refusals.report("b", TLSError("b:1: its certificate has expired"))
    assert len(log.lines) == REFUSALS_EACH + 1
    assert log.lines[-1] == "refused b:1: its certificate has expired [tls]"
    clock.advance(PERIOD)
    assert log.lines[-1] == f"refused {100 - REFUSALS_EACH} more in {PERIOD:.0f} s, the last one: flood:99: no answer in 10 s [link-lost]"


def test_all_addresses_together_have_a_limit_and_then_it_begins_again() -> None:
    log, clock = Log(), Clock()
    refusals = RefusalLog(log, clock.callLater)
    for while_ in (1, 2, 3):
        for number in range(1000):
            refusals.report(f"address {number}", LinkLost("gone"))
        assert len(log.lines) == while_ * (REFUSALS + 1) - 1
        clock.advance(PERIOD)
        assert len(log.lines) == while_ * (REFUSALS + 1)


def test_what_a_peer_has_put_into_it_is_one_line() -> None:
    log = Log()
    RefusalLog(log, Clock().callLater).report("a", LinkLost("a:1: \x1b[2J\nrefused b:1: nothing"))
    assert log.lines == ["refused a:1: ?[2J refused b:1: nothing [link-lost]"]
