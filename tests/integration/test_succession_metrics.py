"""The metrics of a daemon whose program is replaced."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.daemon import Daemon, free_port, listening, unix_listening
from lab.ends import Ends, passes
from lab.process import wait
from lab.programs import Programs
from tests.metrics.stage import parsed


@pytest.mark.slow
def test_its_metrics_go_over_too(directory: Path, programs: Callable[..., Programs]) -> None:
    """Their port as well, and a UNIX socket that is listened on; one that the new program has no use for is given up."""
    those, port = programs("run"), free_port()
    file, run = directory / "dest.toml", directory / "run"
    file.write_text(f'listen = "unix:{directory}/first"\nmetrics = "127.0.0.1:{port}"\n')
    words = ["--config", f"{file}", "--target", f"a=unix:{directory}/there", "--insecure", "--run-dir", f"{run}"]
    with Daemon(directory, "nbdtun-dest", *words) as dest:
        dest.wait_socket(directory / "first")
        assert b"nbdtun_" in scraped(port)
        those.replace()
        assert b"nbdtun_" in scraped(port)
        assert unix_listening(directory / "first")
        file.write_text(f'listen = "unix:{directory}/second"\n')
        newest = those.replace()
        assert unix_listening(directory / "second")
        assert not listening(port)
        wait(lambda: those.running == [newest], 15, "the end of the programs that have nothing")
        wait(lambda: not (directory / "first").exists(), 5, "the end of the endpoint that was kept for them")
        assert unix_listening(directory / "second")
        those.end()
    assert not (directory / "second").exists()


@pytest.mark.slow
def test_its_metrics_count_on(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """A channel of an old program's is counted by the newest one, and stays so when the old one has ended."""
    these, those, port = ends(), programs("run"), free_port()
    these.configure(f'metrics = "127.0.0.1:{port}"')
    those.replace()
    channel = these.meet()
    assert passes(*channel)
    for _ in range(2):
        newest = those.replace()
        open_now, ended, received = channels(port)
        assert (open_now, ended) == (1, 0)
        assert received >= 5
    for each in channel:
        each.close()
    wait(lambda: channels(port)[:2] == (0, 1), 10, "the end of the channel")
    wait(lambda: those.running == [newest], 15, "the end of the programs before")
    assert channels(port) == (0, 1, 5)
    those.end()


def channels(port: int) -> tuple[float, ...]:
    """How many are open, and complete, and the bytes that they have received."""
    found = parsed(scraped(port).decode())
    names = ("channels{", 'channels_ended_total{outcome="complete",', 'channel_bytes_total{direction="received",')
    return tuple(found.get(f'nbdtun_{name}target="a"}}', 0) for name in names)


def scraped(port: int) -> bytes:
    """The metrics that are served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        told: bytes = answer.read()
    return told
