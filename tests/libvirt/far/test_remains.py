"""What of a migration is ended and removed; the libvirt says what it was told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.far import remains
from nbdtun.libvirt.far.record import Begun
from nbdtun.libvirt.far.remains import SETTLE_SECONDS, Stays, wind_up
from nbdtun.libvirt.host import Domain
from nbdtun.process import Reactor
from tests.libvirt.far.stage import Told
from tests.libvirt.far.test_record import made_of
from tests.libvirt.stage import SESSION, UUID

WAITS = Domain("web1", UUID, "paused", "migration", True, True)
RUNS = Domain("web1", UUID, "running", "migrated", True)
SHUT_DOWN = Domain("web1", UUID, "shutoff", "shutdown")


class Libvirtd(Told):
    """A libvirtd, and the connection to it."""

    async def do(self, work: Callable[[Any], Any]) -> Any:
        return work(self)

    def end(self, uuid: str) -> None:
        self.ended.append(uuid)
        self.domains.clear()

    def remove(self, pool: object, path: str) -> None:
        Path(path).unlink()

    def drop(self, directory: str) -> None:
        """No killed process has left a pool."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    for facade in ("Host", "Pools"):
        monkeypatch.setattr(remains, facade, lambda opened: opened)
    return Clock()


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    (tmp_path / "new").mkdir()
    (tmp_path / "sockets").mkdir()
    (tmp_path / "sockets/memory.sock").touch()
    (tmp_path / "new/a").touch()
    (tmp_path / "nvram").touch()
    made = made_of(tmp_path / "new/a")
    return Begun(
        UUID, "web1", SESSION, "", "", "", f"{tmp_path}/sockets", (f"{tmp_path}/new",), (evolve(made, pool=""),), (f"{tmp_path}/nvram",)
    )


def ended(clock: Clock, libvirtd: Libvirtd, begun: Begun, *, sure: bool = False, seconds: float = 0) -> Stays | str | None:
    got: list[Stays | None] = []
    Deferred.fromCoroutine(wind_up(cast("Reactor", clock), cast("Libvirt", libvirtd), begun, sure=sure)).addCallback(got.append)
    clock.pump([0.1] * round(seconds * 10))
    return got[0] if got else "waits"


def test_all_of_it_is_removed(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    assert ended(clock, Libvirtd(), begun) is None
    assert list(tmp_path.iterdir()) == []
    assert ended(clock, Libvirtd(), begun) is None  # safe to repeat


def test_a_domain_that_waits_is_ended_first(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    libvirtd = Libvirtd(domains=[WAITS])
    assert ended(clock, libvirtd, begun) is None
    assert libvirtd.ended == [UUID]
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_being_taken_over_is_given_time(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    libvirtd, handed = Libvirtd(domains=[WAITS]), evolve(begun, handed_over=True)
    got: list[Stays | None] = []
    Deferred.fromCoroutine(wind_up(cast("Reactor", clock), cast("Libvirt", libvirtd), handed)).addCallback(got.append)
    clock.pump([0.1] * 20)
    libvirtd.domains[:] = [RUNS]
    clock.pump([0.1] * 10)
    assert got == [Stays("its guest is running there", True)]
    assert libvirtd.ended == []
    assert (tmp_path / "new/a").exists()


def test_but_not_for_ever(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    libvirtd, handed = Libvirtd(domains=[WAITS]), evolve(begun, handed_over=True)
    assert ended(clock, libvirtd, handed, seconds=SETTLE_SECONDS + 1) is None  # it was seen to wait until the end
    assert libvirtd.ended == [UUID]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sure", [False, True])
def test_what_was_handed_over_and_is_gone_is_removed_if_its_source_knows_better(
    clock: Clock, begun: Begun, tmp_path: Path, sure: bool
) -> None:
    stays = ended(clock, Libvirtd(), evolve(begun, handed_over=True), sure=sure)
    assert stays == (None if sure else Stays("its guest was handed over, and may have run there", True, doubtful=True))
    assert (tmp_path / "new/a").exists() != sure


def test_there_is_no_doubt_about_what_libvirt_has_answered(clock: Clock, begun: Begun) -> None:
    stays = ended(clock, Libvirtd(), evolve(begun, handed_over=True, answered=True))
    assert stays == Stays("its guest was handed over, and may have run there", True)


@pytest.mark.parametrize("sure", [False, True])
def test_a_guest_that_runs_stays(clock: Clock, begun: Begun, tmp_path: Path, sure: bool) -> None:
    assert ended(clock, Libvirtd(domains=[RUNS]), begun, sure=sure) == Stays("its guest is running there", True)
    assert (tmp_path / "new/a").exists()


def test_a_domain_that_was_shut_down_before_is_in_doubt_only_with_data(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    (tmp_path / "new/a").write_text("x")
    assert ended(clock, Libvirtd(domains=[SHUT_DOWN]), begun) == Stays("its guest is shutoff there", True)
    (tmp_path / "new/a").write_text("")
    assert ended(clock, Libvirtd(domains=[SHUT_DOWN]), begun) is None


def test_an_image_of_another_domain_stays(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    path = f"{tmp_path}/new/a"
    libvirtd = Libvirtd(users={path: frozenset({"other", UUID})})
    assert ended(clock, libvirtd, begun) == Stays(f"{path} is used by the domain other", False)
    assert (tmp_path / "nvram").exists()


def test_what_somebody_else_has_put_there_stays(clock: Clock, begun: Begun, tmp_path: Path) -> None:
    (tmp_path / "new/b").write_text("another")
    (tmp_path / "new/b").replace(tmp_path / "new/a")
    assert ended(clock, Libvirtd(), begun) is None
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["another"]
