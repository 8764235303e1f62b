"""One process of a daemon among others: whom it asks, whom it tells of the end, and when nothing is left of it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import LinkLost
from nbdtun.service.succession.generation import Senders
from nbdtun.tunnel.destination.elsewhere import Share


class Before:
    """The process before."""

    def __init__(self) -> None:
        self.left = 0
        self.elder: object = None
        self.lost: Deferred[Any] = Deferred()

    def when_lost(self) -> Deferred[Any]:
        return self.lost

    def leave(self) -> None:
        self.left += 1


@pytest.fixture
def source() -> Any:
    users = SimpleNamespace(here=Counter({"uid 7": 1}), elsewhere=Counter())
    return SimpleNamespace(channels=set(), users=users, runtime=SimpleNamespace(throttle="the throttle"))


def test_the_one_before_hears_of_the_end_once_the_place_is_taken(source: Any) -> None:
    senders, before = Senders(source, str), Before()
    senders.end_all()
    senders.follow(before)  # type: ignore[arg-type]
    senders.end_all()
    assert before.left == 0  # this one has failed to take over: the other goes on
    senders.took_over()
    senders.end_all()
    assert before.left == 1
    before.lost.callback(None)
    senders.end_all()
    assert before.left == 1
    assert senders.earlier is None


def test_a_sources_users_count_in_all_processes(source: Any) -> None:
    senders, before = Senders(source, lambda: "it cannot"), Before()
    assert senders.fixed == "it cannot"
    assert senders.told == {}
    senders.replaced_by = 4822
    assert senders.told == {"replaced_by": 4822}
    assert senders.throttle is source.runtime.throttle
    senders.follow(before)  # type: ignore[arg-type]
    assert senders.figures == {}
    senders.counted({"uid 7": 2, "uid 8": 1}, {"a": []})
    assert senders.users == {"uid 7": 3, "uid 8": 1}
    source.users.here.clear()
    assert not senders.finished
    before.lost.callback(None)
    assert senders.users == {}
    assert senders.figures_before == {"a": []}
    assert senders.finished
    source.channels.add("one")
    assert not senders.finished


async def _nothing(senders: Senders) -> tuple[Any, Any]:
    return await senders.look(b"i" * 16, "nbd", "me"), await senders.whose("web1", None)


def test_nobody_dials_a_source(source: Any) -> None:
    senders = Senders(source, str)
    found: list[Any] = []
    Deferred.fromCoroutine(_nothing(senders)).addCallback(found.append)
    assert found == [(Share(), (False, 0))]
    with pytest.raises(LinkLost, match="takes no connections"):
        senders.adopt(None)  # type: ignore[arg-type]
    with pytest.raises(LinkLost, match="takes no connections"):
        senders.adopt_control(SimpleNamespace(close=lambda: None), b"", None)  # type: ignore[arg-type]
