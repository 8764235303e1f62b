"""The workers of both ends, here in one process: who gets a channel, what is told of it, and what happens where one ends."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred

from nbdtun.errors import LinkLost
from nbdtun.service.workers import crew as crew_module
from nbdtun.service.workers import keeper as keeper_module
from nbdtun.service.workers import worker as worker_module
from nbdtun.service.workers.commands import Act
from nbdtun.service.workers.crew import Workers
from nbdtun.service.workers.hosted import Hosted
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.destination.targets import EndpointTarget
from nbdtun.tunnel.protocol.growth import SPARE, START
from nbdtun.tunnel.runtime.brake import Brake
from nbdtun.tunnel.wires.secure import Moved
from tests.service.workers.both import Both
from tests.service.workers.stage import until


@pytest_twisted.async_yield_fixture
async def both(base: Path) -> AsyncIterator[Both]:
    made = Both(base)
    await made.begin()
    yield made
    await made.end()


@pytest_twisted.ensureDeferred
async def test_channels_are_spread_and_counted(both: Both, said: list[str]) -> None:
    """As if all were here: in the status, in the ledger, and in the limits."""
    await both.enter(4)
    for service in both.services:
        report = await service.survey()
        assert (report["channels"], report["links"], report["link_lost_for"], report["links_lost"]) == (4, 4, None, 0)
        assert [len(each["channels"]) for each in report["workers"]] == [2, 2]
        assert all(isinstance(channel, Hosted) for channel in service.tunnel.channels)
    assert both.destination.tunnel.ledger.whole.received == both.source.tunnel.ledger.whole.sent == 16
    assert both.destination.tunnel.traffic("nbd").received == 16
    await both.enter(1)
    sixth = await both.way.enter()
    await sixth.gone
    assert any("its limit of 5 channels for this source (--max-channels-per-peer)" in line for line in said)
    for program in both.programs:
        program.transport.loseConnection()  # type: ignore[union-attr]
    await until(lambda: both.destination.tunnel.idle and not both.source.tunnel.channels)
    assert both.destination.tunnel.ledger.whole.ended == 5
    assert both.destination.tunnel.ledger.whole.received == both.source.tunnel.ledger.whole.sent == 20
    assert sum("is complete: 4 B sent, 4 B received" in line for line in said) == 5


@pytest_twisted.ensureDeferred
async def test_a_first_link_that_does_not_reach_its_worker_is_a_lost_one(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where that has no descriptor left: the channel is given up if its source never comes again."""
    passed: Deferred[None] = Deferred()

    def fail(*_: object) -> NoReturn:
        if not passed.called:
            passed.callback(None)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Moved, "wire", fail)
    await both.way.enter()
    await passed
    await until(lambda: both.destination.tunnel.lost_for is not None)
    await until(lambda: both.destination.tunnel.runtime.contact.losses)


@pytest_twisted.ensureDeferred
async def test_a_first_link_for_which_a_worker_has_no_answer_is_a_lost_one(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    resume = Channel.resume

    def busy(channel: Channel, received: int) -> None:
        if not channel.dials:
            raise LinkLost("it is too busy")
        resume(channel, received)

    monkeypatch.setattr(Channel, "resume", busy)
    await both.way.enter()
    await until(lambda: both.destination.tunnel.lost_for is not None)


@pytest_twisted.ensureDeferred
async def test_a_target_that_is_gone_is_forgotten(both: Both) -> None:
    """Each session has its own; the ends of its channels come after it."""
    await both.enter(2)
    tunnel = both.destination.tunnel
    tunnel.targets.remove("nbd")
    tunnel.reset("nbd", "the session has ended")
    tunnel.forget("nbd")
    await until(lambda: tunnel.idle)
    assert tunnel.traffic("nbd").received == 0
    assert not tunnel._received


@pytest_twisted.ensureDeferred
async def test_links_are_cut_again_and_again(both: Both, said: list[str]) -> None:
    await both.enter(3)
    for number in range(3):
        for channel in both.destination.tunnel.channels:
            channel.cut(LinkLost("somebody cut it"))
        for program in both.programs:
            assert await program.ask(f"still {number}".encode()) == f"still {number}".encode()
    for service in both.services:
        report = await service.survey()
        assert (report["links"], report["links_lost"], service.tunnel.ledger.whole.resumes) == (3, 9, 9)
    assert sum("link lost (somebody cut it), waiting for a new one" in line for line in said) == 9


@pytest.mark.parametrize("end", [0, 1])
@pytest_twisted.ensureDeferred
async def test_a_worker_ends_with_its_channels(both: Both, said: list[str], monkeypatch: pytest.MonkeyPatch, end: int) -> None:
    """They end by name, at both ends; the others go on, and another takes its place."""
    monkeypatch.setattr(crew_module, "RESTART", 0.05)
    await both.enter(4)
    crew = both.services[end].crew
    killed = crew.workers[0]
    names = sorted(channel.name for channel in killed.channels.values())
    both.yard.of(killed.pid).hang_up()
    await until(lambda: len(both.services[end].tunnel.channels) == 2 and len(crew.workers) == 2)
    assert crew.report[-1] == {"pid": killed.pid, "ended": "killed by SIGKILL", "channels": names}
    why = f"worker {killed.pid}, which had it, has ended (killed by SIGKILL) [reset]"
    for name in names:
        assert f"channel {name} failed: {why}" in said
    assert f"worker {killed.pid} has ended (killed by SIGKILL), and with it 2 channels" in said
    await until(lambda: all(worker.begun for worker in crew.workers))
    await until(lambda: len(both.source.tunnel.channels) == 2)  # a source that asks the destination for one is told why
    gone = [program for program in both.programs if program.gone.called]
    assert len(gone) == 2
    for program in both.programs:
        if program not in gone:
            assert await program.ask(b"still") == b"still"
    await until(lambda: len(both.destination.tunnel.channels) == 2)
    for name in names:
        assert said.count(f"channel {name} failed: {why}") == 2
    await both.enter(2)
    assert sorted(len(each.channels) for each in crew.workers) == [2, 2]


@pytest_twisted.ensureDeferred
async def test_a_worker_of_another_release_gets_nothing(base: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon has its channels itself then, and starts no other."""
    monkeypatch.setattr(keeper_module, "__version__", "99")
    monkeypatch.setattr(crew_module, "RESTART", 0.0)
    both = Both(base)
    await both.begin()
    await both.enter(2)
    assert any("worker 101 does not begin: it is of release 99, the daemon of " in line for line in said)
    for service in both.services:
        assert all(isinstance(channel, Channel) for channel in service.tunnel.channels)
        await until(lambda service=service: not service.crew.workers)  # type: ignore[misc]
    assert len(both.yard.made) == 4
    await both.end()


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_begin_holds_up_nobody(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels go to the other; to none here, where neither begins."""
    monkeypatch.setattr(crew_module, "FIRST", 0.2)
    silent: Deferred[Any] = Deferred()
    monkeypatch.setattr(keeper_module.Keeper, "respond", lambda *_, **__: silent)
    both = Both(base)
    await both.begin()
    await both.enter(2)
    for service in both.services:
        assert all(isinstance(channel, Channel) for channel in service.tunnel.channels)
    await both.end()


@pytest_twisted.ensureDeferred
async def test_where_no_worker_can_be_started(base: Path, said: list[str]) -> None:
    def start(_: socket.socket) -> NoReturn:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    both = Both(base, Workers(2, start))
    await both.begin()
    await both.enter(2)
    assert said.count("a worker cannot be started: Resource temporarily unavailable; trying again") == 4
    await both.end()


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_ended(base: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the status does not wait for it."""
    for name, seconds in (("WATCH", 0.1), ("HANGS", 1.0), ("LOOK", 0.1), ("RESTART", 0.0)):
        monkeypatch.setattr(crew_module, name, seconds)
    both = Both(base)
    hung, ears = await both.hung()
    assert (await both.destination.survey())["channels"] == 2
    await until(lambda: hung not in both.destination.crew.workers and len(both.destination.crew.workers) == 2)
    assert f"worker {hung.pid} has ended (killed by SIGKILL), and with it 1 channel" in said
    ears.resumeProducing()
    await until(lambda: sum(program.gone.called for program in both.programs) == 1)
    await both.end()


@pytest_twisted.ensureDeferred
async def test_one_bandwidth_for_all(both: Both) -> None:
    """What is set is for all workers, whoever sets it; those who begin later have it, too."""
    await both.enter(1)
    both.destination.tunnel.runtime.throttle.rate = 5000
    await both.source.take(evolve(both.source.settings, tunnel=evolve(both.source.settings.tunnel, bandwidth=7000)))
    await until(lambda: sorted(each.keeper._runtime.throttle.rate or 0 for each in both.yard.made) == [5000, 5000, 7000, 7000])
    both.destination.tunnel.runtime.throttle.rate = None
    await until(lambda: sorted(each.keeper._runtime.throttle.rate or 0 for each in both.yard.made) == [0, 0, 7000, 7000])


@pytest_twisted.ensureDeferred
async def test_the_memory_of_large_windows_is_divided(both: Both) -> None:
    """An end has no more of it with workers than without."""
    await both.enter(2)
    ends = [service.tunnel.runtime.spare for service in both.services]
    workers = [each.keeper._runtime.spare for each in both.yard.made]
    lent = sum(window - START for each in both.yard.made for window in (c._window for c in each.keeper._channels.values()))
    assert lent > 0
    assert sum(spare.left for spare in (*ends, *workers)) + lent == pytest.approx(2 * SPARE, abs=len(workers))
    assert [spare.left for spare in ends] == pytest.approx([SPARE / 3] * 2, abs=2)


@pytest_twisted.ensureDeferred
async def test_the_end_of_an_end_is_told_to_the_other(both: Both, said: list[str]) -> None:
    """A source that is stopped says so over each link, before its workers end."""
    await both.enter(3)
    await both.source.stopService()
    await until(lambda: both.destination.tunnel.idle)
    assert sum("failed: the source was stopped [reset]" in line for line in said) == 6
    assert not both.source.crew.workers


@pytest_twisted.ensureDeferred
async def test_a_program_hears_of_an_end_after_the_farewell(both: Both) -> None:
    """Which the main process says; that the worker asks for it."""
    program, ours = socket.socketpair()
    program.setblocking(False)
    called: list[Deferred[None]] = []

    def farewell() -> Deferred[None]:
        called.append(Deferred())
        return called[-1]

    channel = await both.source.tunnel.have("nbd", ours, urgent=False, farewell=farewell)
    assert isinstance(channel, Hosted)
    both.destination.tunnel.reset("nbd", "it is needed no more")
    await until(lambda: called and channel.ended.called)
    with pytest.raises(BlockingIOError):
        program.recv(1)
    called[0].callback(None)
    await until(lambda: select.select([program], [], [], 0)[0])
    assert program.recv(1) == b""
    assert len(called) == 1
    program.close()


@pytest_twisted.ensureDeferred
async def test_all_is_delivered_before_it_is_over(both: Both) -> None:
    """The other direction goes on; a handover does not wait for that."""
    program, ours = socket.socketpair()
    channel = await both.source.tunnel.have("nbd", ours, urgent=True)
    heard: list[str] = []
    channel.delivered.addCallback(lambda _: heard.append("delivered"))
    channel.ended.addCallback(lambda _: heard.append("ended"))
    program.shutdown(socket.SHUT_WR)
    await until(lambda: len(heard) == 2)
    assert heard == ["delivered", "ended"]
    program.close()


@pytest_twisted.ensureDeferred
async def test_what_is_held_in_one_process_is_not_a_workers(both: Both) -> None:
    brake = Brake(both.source.tunnel.runtime.throttle)
    brake.allow(0)
    program, ours = socket.socketpair()
    assert isinstance(await both.source.tunnel.have("nbd", ours, urgent=True, limit=brake), Channel)
    program.close()
    brake.allow(None)
    program, ours = socket.socketpair()
    assert isinstance(await both.source.tunnel.have("nbd", ours, urgent=True, limit=brake), Hosted)
    program.close()


@pytest_twisted.ensureDeferred
async def test_a_lost_link_is_told_at_once(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A switchover waits for one that is back."""
    monkeypatch.setattr(keeper_module, "LOOK", 3600.0)
    await both.enter(1)
    for channel in both.destination.tunnel.channels:
        channel.cut(LinkLost("somebody cut it"))
    await until(lambda: both.source.tunnel.runtime.contact.losses == 1)
    await until(lambda: both.source.tunnel.lost_for is None, 5)


@pytest_twisted.ensureDeferred
async def test_one_that_is_given_up_while_it_is_opened_is_given_up_there(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker would open it all the same, and nobody would know of it."""
    asked: list[Deferred[Any]] = []

    async def connect(*_: object) -> NoReturn:
        asked.append(Deferred())
        await asked[-1]
        raise AssertionError

    monkeypatch.setattr(EndpointTarget, "connect", connect)
    program, ours = socket.socketpair()
    opening = Deferred.fromCoroutine(both.source.tunnel.have("nbd", ours, urgent=False))
    ended: list[Any] = []
    opening.addErrback(lambda failure: ended.append(failure.type))
    await until(lambda: asked)
    opening.cancel()
    assert ended == [CancelledError]
    await until(lambda: not any(each.keeper._channels for each in both.yard.made))
    assert program.recv(1) == b""
    assert not both.source.tunnel.given_up
    program.close()


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_ended_with_all_that_it_was_told(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not read yet, such as the questions for its lost links, is more than its connection has room for."""
    monkeypatch.setattr(worker_module, "UNREAD", 0.1)
    for name, seconds in (("WATCH", 0.1), ("HANGS", 0.3), ("LOOK", 0.1), ("RESTART", 0.0)):
        monkeypatch.setattr(crew_module, name, seconds)
    both = Both(base)
    hung, _ears = await both.hung()
    for _ in range(1000):
        hung.notify(Act, channel=bytes(16), what="cut", code="link-lost", reason="r" * 1000)
    await until(lambda: hung not in both.destination.crew.workers)
    await both.end()
