"""Several who wait for one thing."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nbdtun.tunnel.share import share


def test_everybody_gets_the_result() -> None:
    one: Deferred[int] = Deferred()
    got: list[int] = []
    for _ in range(2):
        share(one).addCallback(got.append)
    one.addCallback(got.append)
    one.callback(7)
    share(one).addCallback(got.append)
    assert got[:3] == [7, 7, 7]
    assert len(got) == 4


def test_and_everybody_the_failure() -> None:
    one: Deferred[int] = Deferred()
    failed: list[object] = []
    share(one).addErrback(lambda failure: failed.append(failure.value))
    one.addErrback(lambda failure: failed.append(failure.value))
    one.errback(ValueError("no"))
    assert [str(error) for error in failed] == ["no", "no"]
