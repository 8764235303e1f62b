"""A code that stands, and sources that come with it, without a QEMU; with one, it is in tests/integration/test_code.py."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from lab.daemon import free_port
from nbdtun.errors import ConfigError, LibvirtError, ReachError, WrongCode
from nbdtun.libvirt.connection import Libvirt
from nbdtun.migration.destination.life import State
from nbdtun.reach.codes import offer
from nbdtun.service import offered as module
from nbdtun.service import receive
from nbdtun.service.offered import OfferSettings, Standing
from nbdtun.service.receive import Receiver
from nbdtun.service.tunnel.introduced import Introduced
from tests.service.stage import migration_settings

reactor: Any = _reactor
OTHER = "7-crossover-clockwork"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short enough for the paths of sockets, which `nbdtun receive` looks at."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name)


class Stage:
    """`nbdtun receive`, with a QEMU that is named, or without one."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 10, *, port: int | None = None, qmp: str = "") -> None:
        monkeypatch.setattr(receive, "LOOK", 0.02)
        monkeypatch.setattr(offer, "AGAIN_SECONDS", 2.0)
        monkeypatch.setattr(offer, "PAUSE", 0.02)
        self.said: list[str] = []
        self.port = free_port() if port is None else port
        settings = OfferSettings("web1", f"tcp:{self.port}:interface=127.0.0.1", qmp, f"{base}/far", seconds)
        self.standing = Standing(reactor, settings, self.said.append)
        self.receiving = self.standing.begin()
        self.base = base

    @property
    def code(self) -> str:
        return next(line for line in self.said if "code is" in line).removeprefix("web1: the code is ").partition(",")[0]

    def source(self, code: str = "") -> Introduced:
        settings = evolve(migration_settings(self.base / "near"), connect=f"tcp:127.0.0.1:{self.port}", code=code or self.code)
        return Introduced(reactor, settings, "web1", lambda line: None)

    async def comes(self) -> Introduced:
        source = self.source()
        await source.open()
        return source

    async def leaves(self, source: Introduced, *, settled: bool = False) -> None:
        await source.acknowledge(settled=settled)
        await source.close()

    async def end(self) -> None:
        self.standing.cancel()
        with pytest.raises(CancelledError):
            await self.receiving
        assert [path for path in (self.base / "far").rglob("*") if path.name not in (".lock", "lock")] == []


@pytest_twisted.ensureDeferred
async def test_a_code_is_good_for_one_source_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for `nbdtun plan`, `check` and then `migrate`, at once after each other."""
    stage = Stage(tmp_path, monkeypatch)
    for _ in range(3):
        source = await stage.comes()
        assert source.waits is False
        await stage.leaves(source)
    await stage.end()
    code = stage.code
    again = f"web1: the source has left, and the code is still {code}, for 10 s"
    assert stage.said[:3] == [f"web1: the code is {code}, for 10 s", "web1: the source has come with the code", again]


@pytest_twisted.ensureDeferred
async def test_while_a_source_is_there_nobody_else_can_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    source = await stage.comes()
    monkeypatch.setattr(offer, "AGAIN_SECONDS", 0.1)
    for code in (OTHER, stage.code):
        with pytest.raises(ReachError, match=r"^tcp:127\.0\.0\.1:\d+: another source has come there with the code; wait until it has left"):
            await stage.source(code).open()
    await stage.leaves(source)
    await stage.end()


@pytest_twisted.ensureDeferred
async def test_it_ends_when_the_vm_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, made = Stage(tmp_path, monkeypatch), list[Receiver]()
    serve = Receiver.serve

    async def serving(receiver: Receiver) -> None:
        made.append(receiver)
        await serve(receiver)

    monkeypatch.setattr(Receiver, "serve", serving)
    source = await stage.comes()
    (receiver,) = made
    assert receiver._destination is not None
    session: Any = SimpleNamespace(ident="a" * 32, state=State.FINISHED)
    receiver._destination.sessions.register.latest["web1"] = session
    monkeypatch.setattr(receiver._destination.sessions, "stop", lambda: deferLater(reactor, 0))
    await stage.leaves(source, settled=True)
    await stage.receiving
    assert stage.said[-1] == "web1: it has arrived, in the QEMU with the monitor /run/qemu/web1-incoming.qmp"


@pytest_twisted.ensureDeferred
async def test_a_qemu_that_is_named_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch, qmp=f"{tmp_path}/q")
    assert stage.said[0] == f"web1: no QEMU waits at {tmp_path}/q yet; start it with -S -incoming defer"
    source = await stage.comes()
    assert source.waits is True  # none is to be made
    with pytest.raises(ReachError, match="nothing is made there, as `nbdtun receive` says; leave --incoming and --libvirt out there"):
        await source.far.look({})
    await stage.leaves(source)
    await stage.end()


@pytest_twisted.ensureDeferred
async def test_a_source_that_leaves_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 2.0)  # enough for a source that comes on a busy machine
    stage = Stage(tmp_path, monkeypatch)
    monkeypatch.setattr(offer, "AGAIN_SECONDS", 20.0)  # the second one waits for the window to pass
    await (await stage.comes()).close()
    await stage.leaves(await stage.comes())
    await stage.end()


@pytest_twisted.ensureDeferred
async def test_a_source_that_is_refused_may_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    with monkeypatch.context() as forbidden:
        forbidden.setattr(receive, "is_forbidden", lambda path: True)
        with pytest.raises(ReachError, match="may not open QEMU's socket there"):
            await stage.comes()
    assert stage.said[1].startswith("web1: the source has come with the code, and is refused: /run/qemu/web1-incoming.qmp: ")
    await stage.leaves(await stage.comes())
    await stage.end()


@pytest_twisted.ensureDeferred
async def test_the_kernels_choice_of_a_port_is_told_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch, port=0)
    stage.port = int(stage.said[0].rpartition(", on port ")[2])
    for _ in range(2):
        await stage.leaves(await stage.comes())
    await stage.end()


@pytest_twisted.ensureDeferred
async def test_a_wrong_code_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    await stage.leaves(await stage.comes())
    with pytest.raises(WrongCode, match="the code is wrong"):
        await stage.source(OTHER).open()
    with pytest.raises(WrongCode, match="a source came with a wrong code"):
        await stage.receiving


@pytest_twisted.ensureDeferred
async def test_it_can_be_cancelled_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    await stage.end()
    stage = Stage(tmp_path, monkeypatch)
    source = await stage.comes()
    await stage.end()
    await source.acknowledge()  # there is nobody to tell
    await source.close()


@pytest_twisted.ensureDeferred
async def test_a_cancel_while_a_source_is_leaving_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, ending = Stage(tmp_path, monkeypatch), Deferred[None]()
    end = Receiver.end

    async def ends(receiver: Receiver) -> None:
        ending.callback(None)
        await deferLater(reactor, 0.05)
        await end(receiver)

    monkeypatch.setattr(Receiver, "end", ends)
    await stage.leaves(await stage.comes())
    await ending
    await deferLater(reactor, 0)  # a signal comes from the reactor, not from within
    await stage.end()


@pytest_twisted.ensureDeferred
async def test_without_its_terminal_it_serves_the_source_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it ends at once, and after it too: nobody could read the code."""
    stage = Stage(tmp_path, monkeypatch)
    stage.standing.hang_up()
    with pytest.raises(CancelledError):
        await stage.receiving
    stage = Stage(tmp_path, monkeypatch)
    source = await stage.comes()
    for _ in range(2):
        stage.standing.hang_up()
    await deferLater(reactor, 0.1)
    assert stage.said[-1] == "web1: the terminal was closed; the source's work goes on here, and then `nbdtun receive` ends"
    assert stage.said.count(stage.said[-1]) == 1
    await stage.leaves(source)
    with pytest.raises(CancelledError):
        await stage.receiving


@pytest_twisted.ensureDeferred
async def test_a_libvirt_that_does_not_run_is_told_before_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(libvirt: Libvirt) -> Libvirt:
        raise LibvirtError(f"libvirt at {libvirt.uri}: no such socket", "start it")

    monkeypatch.setattr(Libvirt, "open", refuses)
    said: list[str] = []
    settings = OfferSettings("web1", "127.0.0.1:0", run_dir=f"{tmp_path}/far", libvirt="qemu:///session")
    standing = Standing(reactor, settings, said.append)
    receiving = standing.begin()
    while len(said) < 2:
        await deferLater(reactor, 0.01)
    assert said[0] == "web1: libvirt at qemu:///session: no such socket; start it"
    assert said[1].startswith("web1: the code is ")
    standing.cancel()
    with pytest.raises(CancelledError):
        await receiving


@pytest_twisted.ensureDeferred
async def test_a_run_directory_that_cannot_be_used_is_told_in_place_of_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"^run directory /.*/file is not a directory; choose another with --run-dir$"):
        await Standing(reactor, OfferSettings("web1", "127.0.0.1:0", run_dir=f"{tmp_path}/file"), said.append).begin()
    assert said == []


def test_libvirt_takes_the_place_of_a_qemu_that_waits(tmp_path: Path) -> None:
    settings = OfferSettings("web1", "10810", libvirt="qemu:///system", admit=("/srv/vm",))
    assert (settings.ready.admit, settings.ready.allow) == (("/srv/vm",), ("web1=source.nbdtun",))
    with pytest.raises(ConfigError, match="--incoming is for VMs without libvirt"):
        evolve(settings, qmp=f"{tmp_path}/web1.qmp")
    with pytest.raises(ConfigError, match="--admit is for --libvirt"):
        evolve(settings, libvirt="")
    with pytest.raises(ConfigError, match="--within must be more than 0"):
        evolve(settings, seconds=0.0)
