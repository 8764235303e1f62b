"""A destination whose port is its successor's: its channels go on, and everything new is the successor's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from nbdtun.errors import LinkLost
from nbdtun.tls.trust import Trust
from nbdtun.tunnel.destination.elsewhere import Elsewhere, Passed, Share
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.targets import SessionTarget, Targets
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import Limits, Records, Terms
from tests.tunnel.stage.program import Far
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

Make = Callable[..., Stage]


class Process:
    """Another destination of the same host, which is asked later, as over a socket."""

    def __init__(self, stage: Stage, destination: Destination) -> None:
        self._stage = stage
        self._destination = destination
        self.passed: list[Passed] = []
        self.gone = False

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        await self._later()
        return await self._destination.look(ident, target, owner)

    async def take(self, passed: Passed) -> None:
        self.passed.append(passed)
        await self._later()
        self._destination.adopt(passed)

    async def _later(self) -> None:
        if self.gone:
            raise LinkLost("it is gone")
        later: Deferred[None] = Deferred()
        self._stage.crank.callLater(0, later.callback, None)
        await later


def succeed(stage: Stage, older: Destination | None = None, tls_dir: Path | None = None, **admission: Any) -> tuple[Destination, Process]:
    """Another destination takes the place of the present one."""
    older = older or stage.destination
    targets = Targets()
    targets.add("disk", Far(stage.crank))
    tls = None if tls_dir is None else Trust(tls_dir, server=True)
    runtime = Runtime(stage.crank, stage.terms, stage.far_pool, stage.crank, records=stage.far_records)
    newer = Destination(runtime, targets, tls, **admission)
    process = Process(stage, older)
    newer.elsewhere.other = process
    stage.cable.far = newer
    return newer, process


@pytest.mark.parametrize("secure", [False, True])
def test_a_channel_outlives_its_port(make_stage: Make, tls_dir: Path, secure: bool) -> None:
    """Its link is cut again and again, and each new one comes to the successor."""
    stage = make_stage(Terms(window=1 << 18), tls_dir=tls_dir if secure else None)
    near, far = stage.meet()
    near.send(b"before ")
    stage.rest()
    newer, process = succeed(stage, tls_dir=tls_dir if secure else None)
    for number in range(1, 4):
        stage.cable.cut()
        near.send(b"there ")
        far.send(b"back ")
        stage.pass_time(5)
        assert len(process.passed) == number
        assert far.got == b"before " + b"there " * number
        assert near.got == b"back " * number
    assert newer.idle
    assert not len(newer.admission)
    near.shut()
    far.shut()
    stage.pass_time(1)
    assert not stage.source.channels
    assert stage.destination.idle
    stage.assert_all_gone()


def test_whatever_is_new_is_the_successors(stage: Stage) -> None:
    stage.meet()
    newer, process = succeed(stage)
    stage.arrive()
    stage.rest()
    assert len(newer.channels) == len(stage.destination.channels) == 1
    assert not process.passed


def test_two_successors_one_after_another(stage: Stage) -> None:
    """Each channel is found, however many programs ago it was opened."""
    programs = [stage.meet()[0]]
    second, _ = succeed(stage)
    programs.append(stage.arrive())
    stage.rest()
    third, _ = succeed(stage, second)
    programs.append(stage.arrive())
    stage.rest()
    stage.cable.cut()
    stage.pass_time(5)
    assert [len(each.channels) for each in (stage.destination, second, third)] == [1, 1, 1]
    assert all(channel.figures.linked for channel in stage.source.channels)
    assert len(stage.source.channels) == len(programs)


def test_an_opening_whose_answer_was_lost_finds_its_channel(stage: Stage) -> None:
    Stranger(stage).open()
    newer, _ = succeed(stage)
    assert "received" in Stranger(stage).open().hear_box()
    assert newer.idle
    assert len(stage.destination.channels) == 1


def test_a_session_goes_on_where_it_is(stage: Stage) -> None:
    """Its channels that are opened later belong to it, too."""
    name = f"nbd.{'0' * 32}"
    stage.targets.add(name, SessionTarget(stage.target, lambda names, secret: True))
    newer, _ = succeed(stage)
    assert "received" in Stranger(stage).open(target=name).hear_box()
    assert newer.idle
    assert len(stage.destination.channels) == 1


def test_how_a_channel_has_ended_is_answered_where_it_was(stage: Stage) -> None:
    stranger = Stranger(stage).open()
    stage.destination.reset("disk", "it is over")
    stranger.hang_up()
    assert not stage.destination.forgotten
    succeed(stage)
    assert stage.destination.idle
    refused = Stranger(stage).resume().hear_box()
    assert refused["_error_description"] == b"it is over"
    stage.pass_time(stage.terms.resume_window + 1)
    assert stage.destination.forgotten


def test_one_that_nobody_has_is_refused_by_the_successor(stage: Stage, said: list[str]) -> None:
    _, process = succeed(stage)
    assert b"has no channel 69696969" in Stranger(stage).resume().hear_box()["_error_description"]
    assert not process.passed
    assert [line for line in said if "refused" in line]


def test_limits_hold_for_both_together(make_stage: Make) -> None:
    stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=3, channels_per_peer=2))
    elsewhere = IPv4Address("TCP", "192.0.2.1", 1)
    Stranger(stage).open(b"1" * 16)
    name = f"nbd.{'0' * 32}"
    stage.targets.add(name, SessionTarget(stage.target, lambda names, secret: True))
    succeed(stage, limits=Limits(channels=3, channels_per_peer=2))
    assert "received" in Stranger(stage).open(b"2" * 16).hear_box()
    for target in ("disk", name):
        refused = Stranger(stage).open(b"3" * 16, target=target).hear_box()
        assert b"its limit of 2 channels for this source" in refused["_error_description"]
    assert "received" in Stranger(stage, address=elsewhere).open(b"4" * 16).hear_box()
    refused = Stranger(stage, address=elsewhere).open(b"5" * 16).hear_box()
    assert b"its limit of 3 channels" in refused["_error_description"]
    assert "received" in Stranger(stage).open(b"1" * 16).hear_box()


def test_nobody_is_passed_on_who_is_not_admitted(make_stage: Make, tls_dir: Path) -> None:
    stage = make_stage(Terms(window=1 << 18), tls_dir=tls_dir)
    near, far = stage.meet()
    _, process = succeed(stage)  # without TLS: it asks for a channel of a source with a certificate
    ident = stage.near.ident
    stage.near.link.wire.listen(False)  # type: ignore[union-attr]  # the other source's
    answer = Stranger(stage).resume(ident).hear_box()
    assert b"has no channel" in answer["_error_description"]
    assert len(process.passed) == 1  # it may ask, and the channel's owner is another one
    far.send(b"unharmed")
    stage.near.link.wire.listen(True)  # type: ignore[union-attr]
    stage.rest()
    assert near.got == b"unharmed"


def test_a_predecessor_that_does_not_answer_is_asked_again_by_the_source(stage: Stage) -> None:
    near, far = stage.meet()
    _, process = succeed(stage)
    process.gone = True
    stage.cable.cut()
    stage.pass_time(5)
    assert stage.near.link is None
    process.gone = False
    far.send(b"here again")
    stage.pass_time(10)
    assert near.got == b"here again"


def test_one_that_hangs_holds_up_nobody_else(make_stage: Make) -> None:
    """What is new is opened; its channels count as when it was asked last, and its sessions' targets are asked for again."""
    stage = make_stage(Terms(window=1 << 18), limits=Limits(channels=3))
    Stranger(stage).open(b"1" * 16)
    newer, process = succeed(stage, limits=Limits(channels=3))
    assert "received" in Stranger(stage).open(b"2" * 16).hear_box()
    process.gone = True
    assert "received" in Stranger(stage).open(b"3" * 16).hear_box()
    assert Stranger(stage).open(b"4" * 16).hear_box()["_error_code"] == b"too-many-channels"
    for refused in (Stranger(stage).open(b"5" * 16, target=f"nbd.{'0' * 32}"), Stranger(stage).resume(b"1" * 16)):
        assert refused.hear_box()["_error_code"] == b"link-lost"
    assert len(newer.channels) == 2


def test_what_each_source_has_there_counts_while_it_hangs(make_stage: Make) -> None:
    """Also where another source was the last one that it was asked about."""
    limits = Limits(channels_per_peer=2)
    stage = make_stage(Terms(window=1 << 18), limits=limits)
    elsewhere = IPv4Address("TCP", "192.0.2.1", 1)
    Stranger(stage).open(b"1" * 16)
    _, process = succeed(stage, limits=limits)
    assert "received" in Stranger(stage).open(b"2" * 16).hear_box()
    assert "received" in Stranger(stage, address=elsewhere).open(b"3" * 16).hear_box()
    process.gone = True
    assert Stranger(stage).open(b"4" * 16).hear_box()["_error_code"] == b"too-many-channels"
    assert "received" in Stranger(stage, address=elsewhere).open(b"5" * 16).hear_box()


def test_records_of_openssl_stay(make_stage: Make, tls_dir: Path) -> None:
    stage = make_stage(Terms(window=1 << 18), tls_dir=tls_dir)
    stage.meet()
    newer, _ = succeed(stage, tls_dir=tls_dir)
    object.__setattr__(newer.runtime.terms, "records", Records.LIBRARY)
    stage.cable.cut()
    stage.pass_time(5)
    assert stage.near.link is None  # it goes on asking until its window is over
    assert not newer.channels


def test_nothing_is_elsewhere_at_first() -> None:
    assert repr(Elsewhere()) == "<Elsewhere nothing>"
    assert Share(True, False, 1, 2).and_of(Share(False, True, 10, 20)) == Share(True, True, 11, 22)
