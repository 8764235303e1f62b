"""A worker that is killed: its channels end by name, and a guest runs on at one end, whole."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.ends import passes
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from lab.programs import Programs, alive
from tests.integration.outcome import arrived, stayed
from tests.integration.workers import Make, spread, staffed


@pytest.fixture
def ends(directory: Path, tls: Path) -> Iterator[Make]:
    yield from staffed(directory, tls)


@pytest.mark.parametrize("kind", ["nbdtun-dest", pytest.param("nbdtun-source", marks=pytest.mark.slow)])
def test_a_killed_worker_ends_its_channels_by_name(ends: Make, kind: str) -> None:
    """A source that asks for one is told so; the others go on, and another worker takes its place."""
    these = ends()
    channels = [these.meet() for _ in range(6)]
    assert all(passes(*each) for each in channels)
    killed = next(each for each in these.report(kind)["workers"] if each["channels"])
    os.kill(killed["pid"], signal.SIGKILL)
    daemon = these.dest if kind == "nbdtun-dest" else these.source
    how = f"worker {killed['pid']}, which had it, has ended (killed by SIGKILL) [reset]"
    for name in killed["channels"]:
        daemon.wait_log(f"channel {name} failed: {how}")
    daemon.wait_log(f"worker {killed['pid']} has ended (killed by SIGKILL), and with it 2 channels")
    other = these.source if kind == "nbdtun-dest" else these.dest
    for name in killed["channels"]:
        other.wait_log(f"channel {name} failed: {how}")
    left = [each for each in channels if not ended(each[0])]
    assert len(left) == 4
    assert all(passes(*each) for each in left)
    wait(lambda: len(spread(these.report(kind))) == 3, 20, "another worker")
    gone = next(each for each in these.report(kind)["workers"] if each["ended"])
    assert gone == {"pid": killed["pid"], "ended": "killed by SIGKILL", "channels": killed["channels"]}
    told = Programs(these.directory / "run").command("status", f"@{daemon.pid}").stdout
    assert f"worker {killed['pid']} has ended (killed by SIGKILL), and with it {', '.join(killed['channels'])}" in told
    left += [these.meet(), these.meet()]
    these.cut()
    assert all(passes(*each) for each in left)
    assert spread(these.report(kind)) == [2, 2, 2]
    workers = these.pids(kind)
    os.kill(daemon.pid, signal.SIGKILL)
    wait(lambda: not any(map(alive, workers)), 10, "the end of its workers, too")


def ended(near: socket.socket) -> bool:
    """Whether a program's connection was closed; it is within a second, if it is to be."""
    near.settimeout(1)
    try:
        return near.recv(1) == b""
    except TimeoutError:
        return False
    finally:
        near.settimeout(20)


def hosting(crossing: Crossing) -> list[dict[str, Any]]:
    """The workers of the destination's daemon that have a channel."""
    (report,) = (json.loads(line) for line in crossing.command("status", "--json", far=True).stdout.splitlines())
    return [each for each in report["workers"] if each["channels"] and each["ended"] is None]


def carries(crossing: Crossing, kind: str) -> bool:
    """Whether one of them has a channel of this kind."""
    return any(name.startswith(f"{kind}.") for each in hosting(crossing) for name in each["channels"])


@pytest.mark.slow
@pytest.mark.parametrize("held", ["mirror", "ram", "nbd-server-start", "migrate-incoming", "cont"])
def test_a_worker_killed_in_each_phase(held: str, pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """Before the disks, while they are copied, before the memory, with it, at the handover: the guest runs on at one end, whole."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    flowing = {"mirror": "nbd", "ram": "ram"}.get(held)
    with Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, "no such command" if flowing else held) as gate:
        crossing = crossings(pair, qmp=(pair.source.qmp_path, gate.path), daemon_options=["--workers", "3"])
        attempt = crossing.migrate("--bandwidth", "16MiB")
        if flowing:
            wait(lambda: carries(crossing, flowing), 60, f"a channel of {flowing}", attempt)
        else:
            gate.wait_held()
        for each in hosting(crossing):
            os.kill(each["pid"], signal.SIGKILL)
        gate.open()
        status = attempt.wait_exit(180)
        assert status in (0, 1), attempt.log()
        (arrived if status == 0 else stayed)(crossing)
        if held != "mirror":  # its disk may be copied by another connection; but its memory may have begun, too
            assert status == (1 if held in ("ram", "migrate-incoming") else 0), attempt.log()
