"""The real daemons that the peer talks to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.cable import Cable
from lab.daemon import Twistd, free_port
from tests.integration.conftest import booted, crossings, directory, guest, no_process_left, pairs, tls
from tests.peer import programs
from tests.peer.programs import Program
from tests.peer.source import Source

__all__ = ["booted", "crossings", "directory", "guest", "no_process_left", "pairs", "tls"]

HERE = Path(__file__).parent
PROGRAMS = {"echo": programs.echo, "greeter": programs.greeter, "counter": programs.counter, "sleeper": programs.sleeper}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.xdist_group("peer"))
            if item.get_closest_marker("slow") and not os.environ.get("NBDTUN_SLOW"):
                item.add_marker(pytest.mark.skip(reason="slow; make chaos runs it, or NBDTUN_SLOW=1"))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A directory with a short name."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def real_destination(folder: Path, tls: Path) -> Iterator[Callable[[bool], int]]:
    """The ports of real destinations, with and without TLS: `real_destination(secure)`. Their targets are programs."""
    ports: dict[bool, int] = {}
    with ExitStack() as ended:
        for name, run in PROGRAMS.items():
            ended.enter_context(Program(folder / f"{name}.sock", run))

        def started(secure: bool) -> int:
            if secure not in ports:
                ports[secure] = free_port()
                targets = [word for name in (*PROGRAMS, "missing") for word in ("--target", f"{name}=unix:{folder / name}.sock")]
                options = ["--listen", f"tcp:{ports[secure]}:interface=127.0.0.1", *targets, "--run-dir", f"{folder}/run"]
                secured = ["--tls-dir", f"{tls}"] if secure else []
                daemon = Twistd(folder, "nbdtun-dest", *options, *secured, name=f"dest-{secure}")
                ended.enter_context(daemon).wait_port(ports[secure], 120)
            return ports[secure]

        started(False)
        started(True)
        yield started


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    """Whether there is TLS."""
    chosen: bool = request.param
    return chosen


@pytest.fixture
def source(real_destination: Callable[[bool], int], tls: Path, secure: bool) -> Source:
    """A source of ours for a real destination."""
    return Source(real_destination(secure), tls if secure else None)


@pytest.fixture
def cable(directory: Path, real_destination: Callable[[bool], int]) -> Iterator[Cable]:
    """A cable to the real destination without TLS."""
    with Cable(directory, real_destination(False)) as made:
        yield made
