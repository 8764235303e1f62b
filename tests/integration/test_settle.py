"""The moment after the handover: a guest that dies at the destination is still at the source, and nothing else costs it its success."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.disks import MIB
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import wait
from tests.integration.outcome import arrived, tuned

PLAN = Plan(32 * MIB)
LONG = "8s"
#: A port for orders to the guest, and a device by which it tells of its panic.
ORDERS = ("-device", "pvpanic", "-chardev", "socket,id=orders,path={}/NAME.orders,server=on,wait=off", "-serial", "chardev:orders")


class Settling:
    """A migration whose guest has just begun to run at the destination; it is watched there for `LONG`."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing, self.pair = crossing, crossing.pair
        self.attempt = crossing.migrate()
        self.attempt.wait_phase("settle")

    def order(self, word: str) -> None:
        """Have the guest at the destination do something."""
        with closing(socket.socket(socket.AF_UNIX)) as port:
            port.connect(f"{self.crossing.directory}/dst.orders")
            port.sendall(f"{word}\n".encode())

    def lost(self, why: str, attempt: Attempt | None = None) -> None:
        """It says so, and the source is paused."""
        attempt = attempt or self.attempt
        assert attempt.wait_exit(60) == 4, attempt.log()
        line = attempt.complaints()[-1]
        assert f"{VM} has run at the destination, and was lost there: {why}" in line
        assert attempt.log().splitlines()[-1].endswith("[guest-lost]")
        assert attempt.last["phase"] == "lost"
        assert self.pair.source.status() == "postmigrate"
        assert tuned(self.pair.source) == []

    def goes_back(self) -> None:
        """As the message says: QEMU is ended there, and the source goes on. Then it can be moved again."""
        pair = self.pair
        pair.destination.kill()
        pair.source.qmp("cont")
        pair.source.wait_ticks(5)
        assert [left for left in pair.source.leftovers() if "orders" not in left] == []
        pair.renew_destination()
        again = self.crossing.migrate("--settle", "200ms")
        assert again.wait_exit(120) == 0, again.log()
        pair.destination.wait_ticks(5)
        assert not pair.source.running()
        assert pair.faults() == []


@pytest.fixture
def settling(pairs: Callable[..., Pair], guest: Guest, crossings: Callable[..., Crossing], directory: Path) -> Callable[..., Settling]:
    """Begins a migration, and waits until it settles: `settling()`; with `obeys` its guest obeys orders."""

    def begin(obeys: bool = False, options: Sequence[str] = (), cable: bool = False) -> Settling:
        machine = {"behaves": replace(guest, obeys=True), "extra": [word.format(directory) for word in ORDERS]} if obeys else {}
        pair = pairs(PLAN, **machine)
        pair.source.wait_ticks(5)
        return Settling(crossings(pair, settle=LONG, options=options, cable=cable))

    return begin


def test_a_guest_that_panics(settling: Callable[..., Settling]) -> None:
    one = settling(obeys=True)
    one.order("crash")
    one.lost("the guest has crashed")
    again = one.crossing.migrate()  # as a service manager would
    one.lost("the guest has crashed", again)
    one.lost("the guest has crashed", one.crossing.migrate("--resolve"))
    one.goes_back()


def test_a_guest_that_powers_itself_off(settling: Callable[..., Settling]) -> None:
    one = settling(obeys=True)
    one.order("off")
    one.lost("the guest has shut down by itself")
    one.goes_back()


@pytest.mark.slow
def test_a_guest_that_powers_itself_off_and_its_qemu_stays(settling: Callable[..., Settling]) -> None:
    one = settling(obeys=True)
    one.pair.destination.qmp("set-action", shutdown="pause")
    one.order("off")
    one.lost("the guest has shut down by itself")
    one.lost("the guest has shut down", one.crossing.migrate("--resolve"))
    one.goes_back()


@pytest.mark.slow
def test_a_guest_that_resets_itself_is_not_lost(settling: Callable[..., Settling]) -> None:
    one = settling(obeys=True)
    one.pair.destination.qmp("set-action", reboot="reset")
    one.order("reset")
    assert one.attempt.wait_exit(60) == 0, one.attempt.log()
    one.pair.destination.wait_ticks(5)
    assert not one.pair.source.running()


def test_its_qemu_is_killed_there(settling: Callable[..., Settling]) -> None:
    one = settling()
    one.pair.destination.kill()
    one.lost("its QEMU has ended")
    one.goes_back()


def test_the_source_is_killed_and_then_the_guest_is_lost(settling: Callable[..., Settling]) -> None:
    """The next attempt asks for more than whether it has arrived."""
    one = settling()
    one.attempt.kill()
    one.pair.destination.quit()
    resolving = one.crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 4, resolving.log()
    assert one.pair.source.status() == "postmigrate"
    one.goes_back()


@pytest.mark.slow
def test_the_source_is_killed_and_the_guest_lives(settling: Callable[..., Settling]) -> None:
    one = settling()
    one.attempt.kill()
    again = one.crossing.migrate()
    assert again.wait_exit(60) == 0, again.log()
    arrived(one.crossing)


def test_a_signal_comes_too_late(settling: Callable[..., Settling]) -> None:
    one = settling()
    one.attempt.signal(signal.SIGTERM)
    one.attempt.wait_log("nbdtun: too late to interrupt")
    assert one.crossing.command("cancel", VM).returncode in (1, 2)  # too late, or ended by now
    assert one.attempt.wait_exit(60) == 0, one.attempt.log()
    arrived(one.crossing)


@pytest.mark.slow
def test_an_operator_pauses_it_there(settling: Callable[..., Settling]) -> None:
    one = settling()
    one.pair.destination.qmp("stop")
    assert one.attempt.wait_exit(60) == 0, one.attempt.log()
    assert not one.pair.source.running()
    assert one.pair.destination.status() == "paused"


def test_the_link_is_lost_for_good(settling: Callable[..., Settling]) -> None:
    """Nobody can ask whether it still runs; so the source stays paused until somebody can."""
    one = settling(cable=True, options=["--resume-window", "2s", "--link-timeout", "1s"])
    one.crossing.cable.pull()
    assert one.attempt.wait_exit(120) == 3, one.attempt.log()
    assert one.pair.source.status() == "postmigrate"
    one.crossing.cable.plug()
    resolving = one.crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 0, resolving.log()
    arrived(one.crossing)


@pytest.mark.slow
def test_a_source_that_is_kept(settling: Callable[..., Settling]) -> None:
    """It is told that it runs there as soon as it does, and is watched for as long as by default."""
    one = settling()
    told = one.attempt.last
    assert one.pair.running() == [one.pair.destination]
    assert one.attempt.wait_exit(60) == 0, one.attempt.log()
    assert (one.attempt.last["elapsed"], one.attempt.last["downtime_ms"]) == (told["elapsed"], told["downtime_ms"])
    wait(lambda: not one.pair.source.running(), 10, "the source's end")
