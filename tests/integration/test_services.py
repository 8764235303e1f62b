"""`twistd nbdtun-source --migrate`: a migration as a service, in the foreground and behind the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from lab.crossing import PHASES, VM, Crossing
from lab.daemon import Detached
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from tests.integration.outcome import arrived, stayed

SMALL = Plan(32 * MIB)


def test_it_migrates_and_ends(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs())
    crossing.pair.source.wait_ticks(10)
    service = crossing.serve("--bandwidth", "500MiB")
    assert service.wait_exit(120) == 0, service.log()
    for line in (r"session [0-9a-f]{8} begins", *PHASES[1:], "runs at the destination"):
        assert re.search(f"{VM}: {line}", service.log())
    assert "Traceback" not in service.log()
    arrived(crossing)


def test_one_that_fails_ends_with_1(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, Plan(64 * MIB, target_size=48 * MIB)))
    service = crossing.serve()
    assert service.wait_exit(60) == 1, service.log()
    assert service.log().count("disk vdb: 48 MiB") == 1
    assert "Traceback" not in service.log()
    crossing.pair.source.wait_ticks(5)
    stayed(crossing)
    assert crossing.leftovers() == []


def test_one_that_is_stopped_rolls_back(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(64 * MIB)))
    crossing.pair.source.wait_ticks(5)
    service = crossing.serve("--bandwidth", "16MiB")
    service.wait_log(f"{VM}: ram", 60)
    assert service.terminate(60) == 130
    assert "Traceback" not in service.log()
    stayed(crossing)
    assert crossing.leftovers() == []


def test_one_that_forwards_too_stays(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    entrance = directory / "in.sock"
    service = crossing.serve("--forward", f"nbd=unix:{entrance}")
    service.wait_log(f"{VM}: runs at the destination", 60)
    service.wait_socket(entrance)
    wait(lambda: not crossing.pair.source.running(), 20, "the source's end")
    assert service.terminate() == 0
    assert not entrance.exists()


def test_one_behind_the_terminal_migrates_and_is_gone(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path
) -> None:
    crossing = crossings(pairs(SMALL))
    crossing.pair.source.wait_ticks(5)
    service = Detached(directory, "nbdtun-source", *crossing.service_arguments())
    assert (service.command.returncode, service.command.stderr) == (0, "")
    wait(lambda: not service.running, 60, "the service's end")
    assert f"{VM}: runs at the destination" in service.log.read_text()
    assert "Traceback" not in service.log.read_text()
    assert not service.pidfile.exists()
    arrived(crossing)
