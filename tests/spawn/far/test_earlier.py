"""What a killed far end has left: a process stands in for its QEMU, and its monitor says what the test wants."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor

from nbdtun.errors import MonitorError, NotMigratable
from nbdtun.migration.rollback.presence import identity
from nbdtun.ownership.images import make_file
from nbdtun.spawn.far import earlier as module
from nbdtun.spawn.far.earlier import Earlier
from nbdtun.spawn.far.record import Record, Recorded

SESSION = "a" * 32


class Scene:
    """What is left: a directory, an image, a log, and a QEMU."""

    def __init__(self, directory: Path) -> None:
        self.there = directory / "there"
        self.there.mkdir()
        self.disk, log = self.there / "disk", self.there / "log"
        descriptor, made = make_file(f"{self.disk}")
        os.close(descriptor)
        log.touch()
        self.qemu = subprocess.Popen(["sleep", "60"])
        self.listens: int | None = self.qemu.pid  #: the process behind the monitor
        self.state, self.entry = "inmigrate", None
        self.looks = 0  #: how often the monitor is looked for before it is open
        self.callers = 0  #: killed processes whose connections it has yet to take
        self.silent = False
        self.ran = False
        self.record = Record(directory / "state/web1.made")
        left = Recorded(f"{self.there}/qmp", (f"{self.there}",), (made,), (f"{log}",), identity(self.qemu.pid))
        self.record.write(left)
        self.earlier = Earlier(reactor, "web1", self.record, lambda: self.ran)

    def is_served(self, path: str) -> bool:
        """Whether the monitor is open by now."""
        self.looks -= 1
        return self.listens is not None and self.looks < 0

    def end(self) -> None:
        """End QEMU."""
        self.qemu.kill()
        self.qemu.wait()
        self.listens = None

    def journal(self, **said: Any) -> None:
        self.entry = SimpleNamespace(**{"session": SESSION, "alive": False, "handed_over": False, **said})  # type: ignore[assignment]

    def change(self, **changes: Any) -> None:
        """Change the record."""
        left = self.record.read()
        assert left is not None
        self.record.write(evolve(left, **changes))

    async def why(self) -> str:
        """Why all of it stays; empty if it was removed."""
        finding = await self.earlier.clear()
        if finding is None:
            return ""
        assert self.there.exists()
        assert self.record.read() is not None
        return finding.what


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    one = Scene(tmp_path)

    class FakeMonitor:
        def __init__(self, *words: Any) -> None:
            self.credentials = SimpleNamespace(pid=one.listens)

        async def connect(self) -> None:
            if one.silent:
                raise MonitorError("no answer")
            one.callers -= 1
            if one.callers >= 0:
                raise MonitorError("another client holds this monitor") from BlockingIOError()

        async def close(self) -> None:
            pass

    async def state(monitor: Any) -> str:
        return one.state

    async def read(monitor: Any) -> Any:
        return one.entry

    monkeypatch.setattr(module, "Monitor", FakeMonitor)
    monkeypatch.setattr(module, "run_state", state)
    monkeypatch.setattr(module, "read", read)
    monkeypatch.setattr(module, "is_served", one.is_served)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    yield one
    one.end()


@pytest_twisted.ensureDeferred
async def test_all_of_it_is_removed_where_its_qemu_still_waits(scene: Scene) -> None:
    scene.journal()
    assert await scene.earlier.look() == (f"{scene.there}/qmp", SESSION)
    assert await scene.why() == ""
    assert scene.qemu.poll() is not None
    assert not scene.there.exists()
    assert scene.record.read() is None
    assert await scene.earlier.look() == ("", "")
    assert await scene.why() == ""


@pytest_twisted.ensureDeferred
async def test_and_where_it_has_ended_before_anything_was_written(scene: Scene) -> None:
    scene.end()
    assert await scene.why() == ""
    assert not scene.there.exists()


@pytest_twisted.ensureDeferred
async def test_a_file_that_has_taken_its_name_stays(scene: Scene) -> None:
    scene.disk.rename(scene.there / "old")
    scene.disk.write_text("somebody's")
    assert await scene.why() == ""
    assert sorted(path.name for path in scene.there.iterdir()) == ["disk", "old"]


RUN = ["running", "paused", "postmigrate", "shutdown"]


@pytest.mark.parametrize("state", RUN)
@pytest_twisted.ensureDeferred
async def test_a_guest_that_runs_there_stays(scene: Scene, state: str) -> None:
    scene.state = state
    assert f"as its guest is {state} there" in await scene.why()
    assert scene.qemu.poll() is None


@pytest.mark.parametrize(
    ("said", "why"), [({"handed_over": True}, "was handed over, and may run there"), ({"alive": True}, "another nbdtun works on its QEMU")]
)
@pytest_twisted.ensureDeferred
async def test_its_journal_is_heeded(scene: Scene, said: dict[str, bool], why: str) -> None:
    scene.journal(**said)
    assert (await scene.earlier.look())[1] == ""
    assert why in await scene.why()
    assert scene.qemu.poll() is None


@pytest_twisted.ensureDeferred
async def test_a_qemu_that_has_just_been_started_is_given_time_to_open_its_monitor(scene: Scene) -> None:
    scene.looks = 20
    assert await scene.why() == ""
    assert scene.qemu.poll() is not None


@pytest_twisted.ensureDeferred
async def test_and_time_to_take_the_connections_of_those_who_were_killed(scene: Scene) -> None:
    scene.callers = 20
    assert await scene.why() == ""
    assert scene.qemu.poll() is not None


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_another_client_holds_is_not_waited_for_without_end(scene: Scene) -> None:
    scene.callers = 1000
    assert "its QEMU cannot be asked: another client holds this monitor" in await scene.why()
    assert scene.qemu.poll() is None


@pytest_twisted.ensureDeferred
async def test_the_process_of_a_unit_is_known_to_systemd(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "unit_pid", {"nbdtun-web1": scene.qemu.pid, "nbdtun-web2": os.getpid()}.__getitem__)
    monkeypatch.setattr(module, "stop_unit", lambda unit: scene.end() if unit == "nbdtun-web1" else None)
    scene.change(process="", unit="nbdtun-web2")
    assert "another process listens at" in await scene.why()
    scene.change(unit="nbdtun-web1")
    assert await scene.why() == ""
    assert scene.qemu.poll() is not None
    assert not scene.there.exists()


@pytest_twisted.ensureDeferred
async def test_in_doubt_all_of_it_stays(scene: Scene) -> None:
    scene.silent = True
    assert "its QEMU cannot be asked: no answer" in await scene.why()
    scene.silent, scene.listens = False, os.getpid()
    assert "another process listens at" in await scene.why()
    scene.listens = None
    assert "its QEMU lives, and has no monitor" in await scene.why()
    scene.change(maker=identity(os.getppid()))
    assert "that far end lives" in await scene.why()
    assert scene.qemu.poll() is None


@pytest_twisted.ensureDeferred
async def test_an_image_that_holds_something_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.disk.write_bytes(b"x")
    held = {False: False, True: True}
    monkeypatch.setattr(module, "holds_nothing", lambda path, *, seen: held[seen])
    scene.end()
    assert f"has left {scene.disk}, which stays, as {scene.disk} is in use, or not empty" in await scene.why()


@pytest_twisted.ensureDeferred
async def test_unless_its_qemu_was_seen_to_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next receiver ends a QEMU that was left in the middle of its memory, after this look."""
    monkeypatch.setattr(module, "holds_nothing", lambda path, *, seen: seen)
    await scene.earlier.look()
    scene.end()
    assert await scene.why() == ""


@pytest_twisted.ensureDeferred
async def test_an_outcome_that_says_so_is_believed(scene: Scene) -> None:
    scene.end()
    scene.ran = True
    assert "its guest has run there, or may have" in await scene.why()


@pytest_twisted.ensureDeferred
async def test_what_a_guest_runs_on_is_named_no_longer_once_its_source_knows(scene: Scene) -> None:
    await scene.earlier.settle()
    assert scene.record.read() is not None  # it waits still
    scene.state = "running"
    await scene.earlier.settle()
    await scene.earlier.settle()
    assert (scene.record.read(), scene.disk.exists()) == (None, True)


@pytest_twisted.ensureDeferred
async def test_a_record_that_cannot_be_read_lets_nothing_be_made_nor_removed(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "state/web1.made").write_text("{}")
    assert await scene.earlier.look() == ("", "")
    await scene.earlier.settle()
    with pytest.raises(NotMigratable, match=r"web1\.made, .* cannot be read"):
        await scene.earlier.clear()
    assert scene.there.exists()
    assert scene.record.is_there
