"""A guest's first moments at the destination: what counts as lost, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MonitorError
from nbdtun.migration.vm.fate import FALLEN, Fate
from tests.migration.stage.paper_qemu import PaperQemu


class Watched:
    """A guest that runs, and is watched for 2 s."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.qemu = PaperQemu(self.clock, "web1")
        Deferred.fromCoroutine(self.qemu.connect())
        self.fate = Fate(self.clock, self.qemu)
        self.fate.begin()
        self.got: list[Any] = []

    def watch(self) -> None:
        Deferred.fromCoroutine(self.fate.watch(2)).addCallbacks(self.got.append, lambda failure: self.got.append(failure.value))
        self.wait(1)

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    def tell(self, name: str, **data: Any) -> None:
        self.qemu.heard(name, data)
        self.wait(0.1)


def test_a_guest_that_lives() -> None:
    one = Watched()
    one.watch()
    assert one.got == []
    one.wait(1.1)
    assert (one.got, one.fate.lost) == ([None], "")
    assert repr(one.fate) == "<Fate of web1: it lives>"


@pytest.mark.parametrize("event", ["GUEST_PANICKED", "GUEST_CRASHLOADED"])
def test_a_guest_that_panics_is_lost_even_if_it_goes_on(event: str) -> None:
    one = Watched()
    one.watch()
    one.tell(event, action="run")
    assert (one.got, one.fate.lost) == ([None], "the guest has crashed")


def test_it_had_died_before_it_was_watched() -> None:
    one = Watched()
    one.tell("GUEST_PANICKED", action="pause")
    one.watch()
    assert one.fate.lost == "the guest has crashed"


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("guest-shutdown", "the guest has shut down by itself"),
        ("guest-reset", "the guest has reset itself, and its QEMU has ended (-no-reboot)"),
        ("guest-panic", "the guest has crashed"),
        ("host-qmp-quit", "another client has ended its QEMU (quit)"),
        ("host-signal", "its QEMU was ended by a signal"),
        ("of-a-later-qemu", "the guest has shut down"),
    ],
)
def test_a_guest_that_shuts_down(reason: str, says: str) -> None:
    one = Watched()
    one.watch()
    one.tell("SHUTDOWN", guest=True, reason=reason)
    one.qemu.die()
    assert (one.got, one.fate.lost) == ([None], says)


@pytest.mark.parametrize("state", FALLEN)
def test_a_guest_that_stands_still(state: str) -> None:
    one = Watched()
    one.watch()
    one.qemu.state = state
    one.tell("STOP")
    assert (one.got, one.fate.lost) == ([None], FALLEN[state])


@pytest.mark.parametrize("state", ["paused", "suspended", "debug"])
def test_one_that_an_operator_has_paused_is_not_lost(state: str) -> None:
    one = Watched()
    one.watch()
    one.qemu.state = state
    one.tell("STOP")
    assert one.got == []
    one.wait(1)
    assert (one.got, one.fate.lost) == ([None], "")


def test_a_guest_that_resets_itself_is_not_lost() -> None:
    one = Watched()
    one.watch()
    one.tell("RESET", guest=True, reason="guest-reset")
    one.wait(1)
    assert (one.got, one.fate.lost) == ([None], "")


def test_a_qemu_that_ends() -> None:
    one = Watched()
    one.watch()
    one.qemu.die()
    one.wait(0.1)
    assert (one.got, one.fate.lost) == ([None], "its QEMU has ended")


def test_a_monitor_that_is_closed() -> None:
    one = Watched()
    one.watch()
    one.qemu.lose("somebody closed it")
    one.wait(0.1)
    assert (one.got, one.fate.lost) == ([None], "")


def test_a_qemu_that_does_not_answer_leaves_it_open() -> None:
    one = Watched()
    one.watch()
    one.qemu.hangs.add("query-status")
    one.wait(62)
    assert isinstance(one.got[0], MonitorError)
    assert one.fate.lost == ""


def test_in_a_hurry() -> None:
    one = Watched()
    one.watch()
    one.fate.hurry()
    one.wait(0.1)
    assert (one.got, one.fate.lost) == ([None], "")
