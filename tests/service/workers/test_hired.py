"""How many workers a migration has use for, and where it has none."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from nbdtun.config.settings import Dialling
from nbdtun.errors import LibvirtError, MonitorError
from nbdtun.migration.settings import HOLD, MigrationSettings
from nbdtun.service.workers import hired
from nbdtun.service.workers.hired import Hired, useful, useful_to_domain
from tests.service.stage import done, migration_settings
from tests.service.workers.stage import Yard


class Machine:
    """A VM with so many drives; its monitor."""

    credentials = None

    def __init__(self, drives: int | None) -> None:
        self.drives = drives

    async def execute(self, command: str, arguments: Any = None) -> Any:
        if self.drives is None:
            raise MonitorError("it is gone")
        if command == "qom-get":
            return "virtio-blk-pci"
        return [{"qdev": f"disk{each}", "inserted": {"node-name": f"disk{each}", "ro": each == 3}} for each in range(self.drives)]


@pytest.mark.parametrize(
    ("drives", "settings", "count"),
    [
        (2, {}, 2),
        (4, {}, 3),  # one can only be read
        (2, {"connections": 4}, 5),
        (2, {"disks": ("disk0",)}, 1),
        (0, {}, 1),
        (None, {"connections": 1}, 2),
        (2, {"connections": 4, "switchover": HOLD}, 2),  # its memory has no worker
    ],
)
def test_a_channel_for_each_disk_or_each_connection(drives: int | None, settings: dict[str, Any], count: int) -> None:
    machine: Any = Machine(drives)
    assert done(useful(machine, MigrationSettings(vm="web1", **settings))) == count


class Domains:
    """libvirt with one domain, which has so many disks, and one that is shared."""

    def __init__(self, drives: int | None) -> None:
        self.drives = drives

    async def do(self, work: Any) -> Any:
        if self.drives is None:
            raise LibvirtError("it is gone")
        return work(self)

    def lookupByName(self, name: str) -> Domains:
        assert name == "web1"
        return self

    def XMLDesc(self, flags: int) -> str:
        disks = [DISK.format(each=each, shared="<shareable/>" if each == self.drives else "") for each in range((self.drives or 0) + 1)]
        return f"<domain><name>web1</name><uuid>1</uuid><devices>{''.join(disks)}</devices></domain>"


DISK = "<disk type='file'><source file='/images/{each}'/><target dev='vd{each}'/>{shared}</disk>"


@pytest.mark.parametrize(
    ("drives", "settings", "count"), [(3, {}, 3), (3, {"disks": ("vd0",)}, 1), (1, {"connections": 2}, 3), (None, {}, 1), (0, {}, 1)]
)
def test_a_domain_has_them_in_its_xml(drives: int | None, settings: dict[str, Any], count: int) -> None:
    libvirt: Any = Domains(drives)
    assert done(useful_to_domain(libvirt, MigrationSettings(vm="web1", **settings))) == count


class Way:
    """By ssh, to a port or not."""

    def __init__(self, found: Dialling | None) -> None:
        self.found = found

    def dialling(self, tunnel: Any) -> Dialling | None:
        return self.found


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """What the crews were made with, and how many workers they have."""
    made: list[tuple[Any, int]] = []

    class Crew:
        def __init__(self) -> None:
            self.report = [{"pid": 7}]

        @classmethod
        def of(cls, source: Any, settings: Any, workers: Any, renews: Any) -> Crew:
            assert renews()
            made.append((pickle.loads(pickle.dumps(settings)), workers.count))
            return cls()

        def open(self) -> None:
            """They start."""

        async def close(self) -> None:
            made.append((None, 0))

    monkeypatch.setattr(hired, "Crew", Crew)
    return made


@pytest.mark.parametrize(("most", "count"), [(9, 3), (2, 2)])
def test_they_dial_as_the_migration_does(tmp_path: Path, crews: list[tuple[Any, int]], most: int, count: int) -> None:
    settings, said = migration_settings(tmp_path), list[str]()
    hands = Hired(Yard().workers(3), settings, None, said.append)
    assert hands.wanted
    assert hands.report() == []
    source: Any = None  # which only the crew asks
    hands.begin(source, most)
    assert crews == [(Dialling(tunnel=settings.tunnel, connect=settings.connect), count)]
    assert (hands.report(), said) == ([{"pid": 7}], [])
    done(hands.close())
    assert crews[1:] == [(None, 0)]


def test_one_has_no_worker_beside_it(tmp_path: Path, crews: list[tuple[Any, int]]) -> None:
    settings = migration_settings(tmp_path)
    source: Any = None
    Hired(Yard().workers(3), settings, None, print).begin(source, 1)
    none = Hired(None, settings, None, print)
    assert not none.wanted
    none.begin(source, 9)
    assert crews == []


@pytest.mark.parametrize("asked", [True, False])
def test_links_through_ssh_are_one_process(tmp_path: Path, crews: list[tuple[Any, int]], asked: bool) -> None:
    """Who has asked for more is told so."""
    said = list[str]()
    way: Any = Way(None)
    source: Any = None
    Hired(evolve(Yard().workers(3), asked=asked), migration_settings(tmp_path), way, said.append).begin(source, 9)
    assert (crews, said) == ([], ["the links go through ssh, so one process has all channels, and no worker"] * asked)


def test_a_port_that_ssh_has_found_is_dialled_by_all(tmp_path: Path, crews: list[tuple[Any, int]]) -> None:
    found = Dialling(connect="unix:/run/x")
    way: Any = Way(found)
    source: Any = None
    Hired(Yard().workers(3), migration_settings(tmp_path), way, print).begin(source, 9)
    assert crews == [(found, 3)]
