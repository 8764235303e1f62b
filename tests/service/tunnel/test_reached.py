"""Which of several ways is taken; whole ones, with a real sshd, are in tests/integration/test_ssh.py."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from nbdtun.config.settings import FarSettings, TunnelSettings
from nbdtun.config.ssh import SSHAddress
from nbdtun.errors import FarEndGone, LinkLost, NbdtunError, ReachError, TLSError, Unreachable
from nbdtun.reach.near import Listening
from nbdtun.service.tunnel.reached import AGAIN, PORT_SECONDS, Reached, _WhileItLives, first
from nbdtun.tls.throwaway import Identity
from tests.service.stage import done


class Attempts:
    """Some attempts, each of which ends when told to."""

    def __init__(self, count: int) -> None:
        self.clock: Any = Clock()
        self.waiting: list[Deferred[None]] = [Deferred() for _ in range(count)]
        self.got: list[int | NbdtunError] = []
        attempts = (self._wait(each) for each in self.waiting)
        Deferred.fromCoroutine(first(self.clock, PORT_SECONDS, attempts)).addCallback(self.got.append)

    async def _wait(self, each: Deferred[None]) -> None:
        await each


def test_the_first_that_succeeds_is_taken() -> None:
    attempts = Attempts(3)
    attempts.waiting[0].errback(Unreachable("refused"))
    assert attempts.got == []
    attempts.waiting[2].callback(None)
    assert attempts.got == [2]
    assert attempts.waiting[1].called  # it was cancelled
    assert attempts.clock.getDelayedCalls() == []


def test_none_succeeds() -> None:
    attempts = Attempts(2)
    attempts.waiting[0].errback(Unreachable("refused"))
    attempts.waiting[1].errback(LinkLost("no route"))
    assert [str(error) for error in attempts.got] == ["no route"]


def test_a_silent_port_is_not_waited_for() -> None:
    attempts = Attempts(2)
    attempts.waiting[0].errback(Unreachable("refused"))
    attempts.clock.advance(PORT_SECONDS)
    assert [str(error) for error in attempts.got] == ["refused"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_that_it_is_another_end_counts_most(order: tuple[int, int]) -> None:
    attempts = Attempts(2)
    errors = [TLSError("not it"), LinkLost("no route")]
    for number in order:
        attempts.waiting[number].errback(errors[number])
    assert [str(error) for error in attempts.got] == ["not it"]


class FakeFar:
    """A far end whose connection is torn, and which answers the next calls with these errors, and then well."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)
        self.joined = 0
        self._lost: Deferred[None] = Deferred()

    def when_lost(self) -> Deferred[None]:
        return self._lost

    def tear(self) -> None:
        lost, self._lost = self._lost, Deferred()
        lost.callback(None)

    async def join(self) -> None:
        self.joined += 1
        if self.errors:
            raise ReachError(self.errors.pop(0))


GONE = "ssh://dest: nothing receives web1 there any more"


def watched(far: Any) -> tuple[Reached, Any]:
    clock: Any = Clock()
    runtime: Any = SimpleNamespace(reactor=clock)
    reached = Reached(runtime, SSHAddress("dest", "", None), "web1", FarSettings(), lambda line: None)
    reached.far = far
    Deferred.fromCoroutine(reached._watch())
    return reached, clock


def test_a_far_end_that_has_ended_has_no_port() -> None:
    far = FakeFar("ssh://dest: no route", GONE)
    reached, clock = watched(far)
    endpoint: Any = SimpleNamespace(connect=lambda factory: succeed("connected"))
    port = _WhileItLives(reached, endpoint)
    far.tear()
    factory: Any = None
    for pause in AGAIN[:2]:
        assert done(port.connect(factory)) == "connected"
        clock.advance(pause)
    assert (str(reached.gone), type(done(port.connect(factory)))) == (f"{GONE}; its log there says more; try again", FarEndGone)
    done(reached.acknowledge())
    assert far.joined == 2


def test_a_torn_connection_is_no_end() -> None:
    far = FakeFar()
    reached, clock = watched(far)
    for count in (1, 2):
        far.tear()
        clock.advance(AGAIN[0])
        assert (far.joined, reached.gone) == (count, None)


def test_where_ssh_would_ask_somebody_it_is_not_tried_for_ever() -> None:
    far = FakeFar(*["ssh://dest: Permission denied"] * 9)
    reached, clock = watched(far)
    far.tear()
    for pause in (*AGAIN, *AGAIN):
        clock.advance(pause)
    assert (far.joined, reached.gone) == (len(AGAIN), None)


@pytest.mark.parametrize("port", ["", "hv2:49152", "[2001:db8::2]:49152"])
def test_another_process_dials_the_port_with_the_certificates_of_both(port: str) -> None:
    """It has them from this one; where the links go through ssh, it cannot dial."""
    reached, _ = watched(FakeFar())
    there = Identity.make()
    reached._port = port
    reached._listening = Listening(there.certificate, there.name, 49152, (), b"", waits=True)
    dialling = reached.dialling(TunnelSettings(window=1 << 20))
    if not port:
        assert dialling is None
        return
    passed = pickle.loads(pickle.dumps(dialling))
    assert (passed.connect, passed.peer_name, passed.tunnel.window) == (port, there.name, 1 << 20)
    assert passed.tunnel.trust.context().cert_store_stats()["x509"] == 1
