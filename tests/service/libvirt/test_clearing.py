"""What stands by a daemon; with a real libvirt, and a daemon that is killed, it is in tests/integration/libvirt_moves."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from lab.process import MARK, marked
from nbdtun.errors import ShuttingDown
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.libvirt.far.record import Begun, record
from nbdtun.migration.rollback.presence import identity
from nbdtun.service.libvirt import clearing
from nbdtun.service.libvirt.clearing import Belongings, Beside, Clearing
from nbdtun.service.local.outcomes import state_dir
from tests.libvirt.stage import SESSION, UUID

NO_LIBVIRT = "qemu+unix:///system?socket=/nonexistent"


def standing_by() -> list[str]:
    return [command for command in marked().values() if "nbdtun standby of dest" in command]


def wait_none() -> None:
    end = time.monotonic() + 20
    while standing_by():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_stands_by_from_the_first_vm_on_and_ends_with_the_daemon(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, f"{os.getpid()}")
    beside = Beside(Belongings(NO_LIBVIRT, f"{base}", None))
    beside.end()
    for _ in range(2):
        beside.begin()
    assert len(standing_by()) == 1
    for _ in range(2):
        beside.end()
    wait_none()


def test_what_the_daemon_leaves_can_be_written_down() -> None:
    left = Belongings(NO_LIBVIRT, "/run/x", None)
    assert pickle.loads(pickle.dumps(left)) == left


def test_a_daemon_is_named_as_the_process_that_it_has_become(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """twistd makes its service before it goes to the background."""
    begun: list[Belongings] = []
    monkeypatch.setattr(clearing, "Standby", begun.append)
    beside = Beside(Belongings(NO_LIBVIRT, f"{base}", None))
    monkeypatch.setattr(os, "getpid", os.getppid)
    beside.begin()
    assert [each.maker for each in begun] == [identity(os.getppid())]


async def cleared(*_: object) -> None:
    pass


def test_it_takes_what_that_daemon_has_left_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrivals, "_clear", cleared)
    kept = record(state_dir(f"{base}"), UUID)
    for maker, ours in (("1 2 3", True), ("4 5 6", False)):
        kept.write(Begun(UUID, "web1", SESSION, maker=maker))
        reactor: Any = Clock()
        work = Clearing(reactor, Belongings(NO_LIBVIRT, f"{base}", None, "1 2 3"))
        Deferred.fromCoroutine(work.run())
        work.cancel()
        left = kept.read()
        assert left is not None
        assert (left.maker == identity(os.getpid())) is ours


def test_nothing_arrives_at_it() -> None:
    clearing = Clearing(Clock(), Belongings(NO_LIBVIRT, None, None))  # type: ignore[arg-type]
    arriving: Any = type("Arriving", (), {"wanted": type("Wanted", (), {"name": "web1"})})
    with pytest.raises(ShuttingDown, match="web1: nothing arrives here any more"):
        clearing._arrivals._doors(arriving)
