from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbdtun.tunnel.chatter import LINES, PERIOD, Chatter
from nbdtun.tunnel.runtime import Terms
from tests.tunnel.stage import Stage


def test_so_many_lines_in_a_while_and_a_count_of_the_others(said: list[str]) -> None:
    later: list[Any] = []
    chatter = Chatter(lambda *call: later.append(call))
    assert [chatter.free() for _ in range(LINES + 3)] == [True] * LINES + [False] * 3
    ((seconds, account),) = later
    assert seconds == PERIOD
    account()
    assert said == ["3 more lines about channels in 60 s"]
    assert chatter.free()


def test_a_quiet_while_says_nothing(said: list[str]) -> None:
    later: list[Any] = []
    chatter = Chatter(lambda *call: later.append(call))
    assert chatter.free()
    later[0][1]()
    assert said == []
    assert repr(chatter) == "<Chatter 0>"


def test_links_that_are_cut_again_and_again_do_not_fill_the_log(said: list[str], make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Terms(window=1 << 18))
    near, _ = stage.meet()
    for _ in range(300):
        near.send(b"x")  # each of them was good for something, so the next comes at once
        stage.pass_time(0.1)
        stage.cable.cut()
        stage.rest()
    assert stage.source.resumes == 300
    assert len(said) < 2 * LINES + 5
    near.close()
    stage.pass_time(400)
