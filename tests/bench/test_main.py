"""The command line: what it refuses, and what it goes on without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench.__main__ as command
from bench.columns import Column
from bench.measures import Measure
from bench.peers import Peer, Place
from bench.peers.pair import Pair
from bench.samples import Sample
from bench.scene import Effort, Scene


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(command.main, arguments)
    return done.exit_code, done.output


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    status, output = invoke("--only", "throughput,speed")
    assert status == 2
    first = "throughput, latency, durability, scaling, cores, idle, metrics, distance"
    known = f"{first}, migration, rationed, sockets, moment, trips, guest, bandwidth"
    assert f"'speed' is none of: {known}" in output
    status, output = invoke("--peers", "socat,pigeon")
    assert status == 2
    assert "'pigeon' is none of: direct UNIX, socat, socat -b 1048576" in output


def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.plot.importlib.util.find_spec", lambda name: None)
    status, output = invoke("--plot", "x.svg")
    assert status == 2
    assert "--plot needs matplotlib" in output


def measured(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    for peer in scene.peers:
        yield Sample("one", peer.name, 1, {"rate_mb_s": float(len(parts))})


def broken(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    yield Sample("other", "a", 1, {"rate_mb_s": 3.0})
    raise RuntimeError("fio: refused")


def flawed(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    for number in (1, 2, 3):
        with scene.by_itself(f"flawed, round {number}"):
            if number == 2:
                raise ConnectionError("QEMU closed the monitor")
            yield Sample("flawed", "a", number, {"rate_mb_s": 3.0})


def started(place: Place) -> AbstractContextManager[Pair]:
    pytest.fail("started")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> list[Peer]:
    """Two peers, one of which is missing, and two measures, one of which fails."""
    peers = [Peer("a", started), Peer("b", started, ("no-such-program",))]
    columns = (Column("rate_mb_s", "MB/s"),)
    measures = (Measure("other", "The other", columns, broken), Measure("one", "The one", columns, measured, ("up", "down")))
    monkeypatch.setattr(command, "MEASURES", measures)
    monkeypatch.setattr("bench.scene.certificates", lambda path, *hosts: path)
    monkeypatch.setattr("bench.report.machine.describe", dict)
    return peers


def test_a_missing_peer_is_named_and_a_measure_that_fails_leaves_the_others(paper: list[Peer], tmp_path: Path) -> None:
    run = command.Run(Effort(), command._console(), tmp_path / "report.json")
    run.measure(paper, ("up", "other"))
    assert run.failed
    assert [(sample.measure, sample.subject, dict(sample.figures)) for sample in run.samples] == [
        ("other", "a", {"rate_mb_s": 3.0}),
        ("one", "a", {"rate_mb_s": 1.0}),
    ]
    report = (tmp_path / "report.json").read_text()
    assert "no-such-program is not installed" in report
    assert "RuntimeError: fio: refused" in report


def test_a_sample_that_fails_leaves_the_others_of_its_measure(paper: list[Peer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "MEASURES", (Measure("flawed", "The flawed one", (Column("rate_mb_s", "MB/s"),), flawed),))
    run = command.Run(Effort(), command._console(), tmp_path / "report.json")
    run.measure([], ("flawed",))
    assert run.failed
    assert [sample.round for sample in run.samples] == [1, 3]
    assert '"flawed, round 2": "ConnectionError: QEMU closed the monitor"' in (tmp_path / "report.json").read_text()
