from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.destination.orphans import Orphans
from nbdtun.migration.ids import JOURNAL
from nbdtun.migration.qmp.life import State
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.rollback.presence import Presence
from tests.migration.stage.left import entry
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.talk import SESSION

WAITED: dict[str, Any] = {"end": End.DESTINATION, "runs": False, "began": 1.0}


class Scene:
    """Two VMs; of ``web1`` a killed process has left a journal."""

    def __init__(self, state: str = "inmigrate", status: str = "failed", **left: Any) -> None:
        self.clock = Clock()
        self.vms = {name: PaperQemu(self.clock, name, state=state) for name in ("web1", "web2")}
        self.left = entry(**(WAITED | left))
        self.web1.objects[JOURNAL] = self.left.text()
        self.web1.migration = {"status": status}
        self.orphans = Orphans(lambda vm: self.vms[vm])

    @property
    def web1(self) -> PaperQemu:
        return self.vms["web1"]

    def look(self) -> None:
        self.orphans.look(self.vms)
        self.clock.pump([0.01] * 20)
        assert not any(connected(qemu) for qemu in self.vms.values())


def connected(qemu: PaperQemu) -> bool:
    return qemu._life.state is State.CONNECTED


@pytest.mark.parametrize("status", ["failed", "setup"])
def test_one_whose_memory_cannot_arrive_any_more_is_ended(said: list[str], status: str) -> None:
    scene = Scene(status=status)
    scene.look()
    assert not scene.web1.alive
    assert scene.vms["web2"].alive
    assert SESSION in scene.orphans
    assert said == [
        "web1: QEMU was receiving a migration when nbdtun-dest was killed, so it has been ended; start it again with -S -incoming defer"
    ]


@pytest.mark.parametrize(
    ("state", "status", "left"),
    [
        ("inmigrate", "none", {"began": None}),  # its disks are being copied, and its source will come back
        ("inmigrate", "active", {}),
        ("paused", "completed", {}),  # its source will ask for the outcome
        ("paused", "completed", {"handed_over": True}),
        ("running", "completed", {}),
        ("paused", "failed", {"end": End.SOURCE}),  # its guest
    ],
)
def test_any_other_is_left_alone(state: str, status: str, left: dict[str, Any]) -> None:
    scene = Scene(state, status, **left)
    scene.look()
    assert scene.web1.alive
    assert SESSION not in scene.orphans
    assert scene.web1.objects[JOURNAL] == scene.left.text()


def test_one_whose_daemon_lives_is_left_alone() -> None:
    scene = Scene()
    Presence(scene.left.name).acquire()
    scene.look()
    assert scene.web1.alive


def test_a_qemu_that_cannot_be_asked_does_not_matter() -> None:
    scene = Scene()
    scene.vms["web2"].alive = False
    scene.look()
    assert SESSION in scene.orphans


def test_it_stops_in_the_middle() -> None:
    scene = Scene()
    scene.web1.hangs.add("qom-get")
    scene.orphans.look(scene.vms)
    scene.clock.pump([0.01] * 20)
    assert connected(scene.web1)
    stopped: list[None] = []
    Deferred.fromCoroutine(scene.orphans.stop()).addCallback(stopped.append)
    assert stopped == [None]
    assert not connected(scene.web1)
    assert repr(scene.orphans) == "<Orphans, 0 ended>"
