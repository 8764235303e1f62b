"""Certificates that live for a moment, as step-ca's and SPIFFE's do: a migration outlives many of them, and its links are cut meanwhile."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from tests.integration.outcome import arrived
from tests.tls.stage.authority import CLIENT, HERE, SERVER, authority, write

CA = authority()


@contextmanager
def renewed(directory: Path, life: float) -> Iterator[list[int]]:
    """Certificates that live for so many seconds, and are replaced three times as often; counts them."""
    over, count = threading.Event(), [0]
    valid = datetime.timedelta(seconds=life)

    def renew() -> None:
        server, client = CA.issue("dest", *HERE, purpose=SERVER, life=valid), CA.issue("src1", purpose=CLIENT, life=valid)
        write(directory, [CA], server, client)
        count[0] += 1

    def work() -> None:
        while not over.wait(life / 3):
            renew()

    renew()
    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield count
    finally:
        over.set()
        worker.join()


def crossed(pairs: Callable[..., Pair], directory: Path, life: float, seconds: float, cut_every: float) -> None:
    """Migrate for about so many seconds, with links that are cut."""
    disk = 64 * MIB
    with renewed(directory / "tls", life) as count, Crossing(pairs(Plan(disk)), directory / "tls", cable=True) as crossing:
        assert crossing.cable
        crossing.cable.slow(disk / seconds)
        attempt = crossing.migrate()
        attempt.wait_phase("mirror")
        cuts = 0
        while attempt.last["phase"] == "mirror":
            begun = count[0]
            wait(lambda begun=begun: count[0] - begun >= cut_every / life * 3 or attempt.last["phase"] != "mirror", 300, "a while")  # type: ignore[misc]
            crossing.cable.cut()
            cuts += 1
        crossing.cable.slow(64 * MIB)
        assert attempt.wait_exit(120) == 0, attempt.log()
        assert count[0] > 4
        assert cuts >= 2
        assert attempt.last["link"]["resumes"] >= 2
        assert "refused our certificate" not in attempt.log()
        arrived(crossing)


def test_a_migration_outlives_its_certificates(pairs: Callable[..., Pair], directory: Path) -> None:
    crossed(pairs, directory, life=6, seconds=10, cut_every=3)


@pytest.mark.slow
def test_a_migration_of_five_minutes_with_certificates_of_one(pairs: Callable[..., Pair], directory: Path) -> None:
    crossed(pairs, directory, life=60, seconds=300, cut_every=40)
