"""The maker, one step at a time; integration/test_spawn has it with real QEMUs."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from nbdtun.errors import NotMigratable
from nbdtun.ownership.images import make_file
from nbdtun.spawn.far import maker as module
from nbdtun.spawn.far.maker import Made, Maker, make_files
from nbdtun.spawn.values import Found, Plan, Role
from nbdtun.spawn.values import Path as Where
from nbdtun.spawn.wire import to_json
from tests.spawn.stage import PLAN, evolved


class Stage:
    """A maker whose QEMU never starts, and who makes one file, once it ``may``."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.may, self.begun = Event(), Event()
        self.maker = Maker(reactor)
        monkeypatch.setattr(module, "look", lambda plan: Found("/opt/qemu"))
        monkeypatch.setattr(module, "make_files", self._make_files)
        monkeypatch.setattr(module, "start", self._start)

    def make(self) -> Deferred[str]:
        plan = evolved(PLAN, qmp=f"{self.directory}/qmp", findings=())
        return Deferred.fromCoroutine(self.maker.make(to_json(plan)))

    async def begins(self) -> None:
        while not self.begun.is_set():
            await deferLater(reactor, 0.01)

    def _make_files(self, plan: Plan, made: Made) -> None:
        self.begun.set()
        self.may.wait(5)
        descriptor, file = make_file(f"{self.directory}/a")
        os.close(descriptor)
        made.images.append(file)

    def _start(self, *_: Any) -> Any:
        raise NotMigratable("QEMU has ended at once")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


@pytest_twisted.ensureDeferred
async def test_what_is_still_being_made_is_removed_when_it_is_there(stage: Stage) -> None:
    """Ctrl-C at the source, while the images are made here."""
    making = stage.make()
    await stage.begins()
    removing = Deferred.fromCoroutine(stage.maker.remove())
    stage.may.set()
    with pytest.raises(NotMigratable, match="QEMU has ended at once"):
        await making
    await removing
    assert os.listdir(stage.directory) == []


@pytest_twisted.ensureDeferred
async def test_two_sources_do_not_make_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def served(*_: Any) -> None:
        pass

    monkeypatch.setattr(module, "start", lambda *_: None)
    monkeypatch.setattr(stage.maker, "_wait", served)
    first, second = stage.make(), stage.make()
    stage.may.set()
    assert await first == f"{stage.directory}/qmp"
    with pytest.raises(NotMigratable, match="a destination was made here already"):
        await second
    await stage.maker.remove()
    assert os.listdir(stage.directory) == []


def test_logs_that_qemu_has_begun_go_and_those_that_were_there_stay(tmp_path: Path) -> None:
    logs = [f"{tmp_path}/{name}" for name in ("new.log", "old.log", "new.serial")]
    Path(logs[1]).write_text("old\n")
    roles = (Role.APPENDED, Role.APPENDED, Role.LOG)
    plan = evolved(PLAN, qmp=f"{tmp_path}/qmp", user="", images=(), paths=tuple(map(Where, logs, roles, ["-chardev"] * 3)))
    made = Made(plan.qmp)
    make_files(plan, made)
    for log in logs:
        with open(log, "a") as file:
            file.write("more\n")
    made.remove()
    assert os.listdir(tmp_path) == ["old.log"]
