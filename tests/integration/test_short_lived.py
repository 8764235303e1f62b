"""Certificates that live for a moment, as step-ca's and SPIFFE's do: a migration outlives many of them, and its links are cut meanwhile."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from lab.crossing import Attempt, Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from tests.integration.outcome import arrived
from tests.tls.stage.authority import CLIENT, HERE, SERVER, authority, write

CA = authority()
DISK = 64 * MIB

#: Seconds in which a cut link comes back on a busy machine, and for which one is seen not to.
BACK, AWAY = 30.0, 5.0


class Renewed:
    """
    Certificates that live for `life` seconds, and are replaced three times as often until `stop()`; a context manager.

    `count` is how many there were.
    """

    def __init__(self, directory: Path, life: float) -> None:
        self.directory, self.life = directory, life
        self.count, self.ends = 0, 0.0
        self._over = threading.Event()
        self._worker = threading.Thread(target=self._work)

    def renew(self) -> None:
        """Replace both ends' certificates."""
        self.ends = time.time() + self.life
        valid = datetime.timedelta(seconds=self.life)
        server, client = CA.issue("dest", *HERE, purpose=SERVER, life=valid), CA.issue("src1", purpose=CLIENT, life=valid)
        write(self.directory, [CA], server, client)
        self.count += 1

    def stop(self) -> None:
        """Replace none any more."""
        self._over.set()
        self._worker.join()

    def _work(self) -> None:
        while not self._over.wait(self.life / 3):
            self.renew()

    def __enter__(self) -> Self:
        self.renew()
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def done(attempt: Attempt) -> int:
    return sum(int(disk["done"]) for disk in attempt.last["disks"])


def back(attempt: Attempt, resumes: int) -> bool:
    """Whether links have come back since there were so many resumes, each channel's."""
    link = attempt.last["link"]
    return int(link["resumes"]) > resumes and link["state"] == "up"


def crossed(pairs: Callable[..., Pair], directory: Path, life: float, cuts: int, *, expire: bool) -> None:
    """
    Migrate while certificates come and go. Links are cut in the life of each of some; then the last ones `expire`.

    Where the cable is slow, what is sent again goes ahead of a handshake. So to see certificates expire takes longer lives than seconds.
    """
    with Renewed(directory / "tls", life) as certificates, Crossing(pairs(Plan(DISK)), directory / "tls", cable=True) as crossing:
        cable = crossing.cable
        cable.slow(DISK / (life * (cuts + 4)))
        attempt = crossing.migrate()
        attempt.wait_phase("mirror")
        for _ in range(cuts):
            certificates_before, resumed = certificates.count, attempt.last["link"]["resumes"]
            wait(lambda before=certificates_before: certificates.count >= before + 2, 2 * life, "two renewals", attempt)  # type: ignore[misc]
            cable.cut()
            wait(lambda before=resumed: back(attempt, before), BACK, "links with renewed certificates", attempt)  # type: ignore[misc]
        if expire:
            certificates.stop()
            wait(lambda: time.time() > certificates.ends + 1, life + 5, "the last certificates' end", attempt)
            outlive(attempt)
            end_nothing_but_admit_nothing(crossing, attempt)
            certificates.renew()
            wait(lambda: attempt.last["link"]["state"] == "up", BACK, "a link with the next certificates", attempt)
        cable.slow(64 * MIB)
        assert attempt.wait_exit(120) == 0, attempt.log()
        assert attempt.last["link"]["resumes"] >= cuts + expire
        assert crossing.daemon.log().count("the certificates have changed; new links use them") >= cuts
        arrived(crossing)


def outlive(attempt: Attempt) -> None:
    """Standing links go on when their certificates have expired."""
    resumes, before = attempt.last["link"]["resumes"], done(attempt)
    wait(lambda: done(attempt) > before, BACK, "more of the disk", attempt)
    assert attempt.last["link"]["resumes"] == resumes
    assert (attempt.last["phase"], attempt.last["link"]["state"]) == ("mirror", "up")


def end_nothing_but_admit_nothing(crossing: Crossing, attempt: Attempt) -> None:
    """A new link needs valid ones. The migration waits for it, and its guest runs on."""
    crossing.cable.cut()
    wait(lambda: attempt.last["link"]["state"] == "lost", BACK, "the lost link", attempt)
    resumes, end = attempt.last["link"]["resumes"], time.monotonic() + AWAY
    while time.monotonic() < end:
        assert attempt.last["link"]["state"] == "lost"
        assert attempt.last["link"]["resumes"] == resumes
        assert attempt.running()
        time.sleep(0.1)
    assert crossing.pair.source.ticking()


def test_a_migration_outlives_its_certificates(pairs: Callable[..., Pair], directory: Path) -> None:
    crossed(pairs, directory, life=6, cuts=2, expire=False)


@pytest.mark.slow
def test_a_migration_of_minutes_with_certificates_of_one(pairs: Callable[..., Pair], directory: Path) -> None:
    """It takes less than five minutes."""
    crossed(pairs, directory, life=60, cuts=3, expire=True)
