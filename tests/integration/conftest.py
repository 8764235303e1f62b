"""Fixtures with real processes. All tests in this directory are marked `integration`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))  # `lab` is not installed with the product

from lab import guest as lab_guest  # noqa: E402
from lab import qemu, systemd  # noqa: E402
from lab.booted import Booted  # noqa: E402
from lab.crossing import Crossing, certificates  # noqa: E402
from lab.ends import Ends  # noqa: E402
from lab.fleet import Fleet  # noqa: E402
from lab.guest import Guest  # noqa: E402
from lab.pair import Pair, Plan  # noqa: E402
from lab.process import MARK, Process, marked, wait  # noqa: E402
from lab.programs import Programs  # noqa: E402

pytest.register_assert_rewrite(
    *(f"tests.integration.{name}" for name in ("bitmaps", "checked", "matrix.verdict", "outcome", "rig", "same", "two"))
)

from tests.integration.rig import Rig, pause  # noqa: E402

os.environ[MARK] = str(os.getpid())  # inherited by what a test starts without the lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Every process that a test starts is gone when it ends."""
    before = marked()
    yield

    def present() -> dict[int, str]:
        return {pid: command for pid, command in marked().items() if pid not in before}

    with suppress(TimeoutError):  # those of a daemon that was killed end by themselves
        wait(lambda: not any("nbdtun worker" in command for command in present().values()), 5, "the end of all workers")
    left = present()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"left behind: {left}"


@pytest.fixture
def directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory with a short name, for UNIX sockets; a failed test's logs in it are shown."""
    failed = request.session.testsfailed
    path = Path(tempfile.mkdtemp(prefix="nt-", dir=systemd.PLACE))
    yield path
    if request.session.testsfailed > failed:
        for log in sorted([*path.rglob("*.log"), *path.rglob("*.console")]):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-12000:]}")
    shutil.rmtree(path)


@pytest.fixture
def ends(directory: Path, tls: Path) -> Iterator[Callable[..., Ends]]:
    """Makes a daemon at each end, with these options, or with TLS."""
    with ExitStack() as ended:
        yield lambda *options: Ends(directory, ended, *(options or ("--tls-dir", f"{tls}")))


@pytest.fixture
def programs(directory: Path) -> Iterator[Callable[..., Programs]]:
    """Makes the programs of one daemon, which are ended: `programs("run", "nbdtun-source")`."""
    made: list[Programs] = []

    def make(run_dir: str, kind: str = "nbdtun-dest") -> Programs:
        made.append(Programs(directory / run_dir, kind))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="session")
def guest() -> Guest:
    return lab_guest.build()


@pytest.fixture(scope="session")
def native_qemu() -> qemu.Build:
    return qemu.native()


@pytest.fixture(scope="session")
def recent_qemu() -> qemu.Build:
    """QEMU 10.0 or later. Debian 12 and later have it; elsewhere it may be missing."""
    try:
        return qemu.recent()
    except RuntimeError as error:
        if os.environ.get("CI"):
            pytest.fail(f"no QEMU of 10.0 or later: {error}")
        pytest.skip(f"no QEMU of 10.0 or later: {error}")


@pytest.fixture(scope="session")
def booted() -> Iterator[Booted]:
    """What saves most tests the boot of their guest; not in pytest's own directory, which is kept for long."""
    with tempfile.TemporaryDirectory(prefix="nt-booted-") as directory:
        yield Booted(Path(directory))


@pytest.fixture
def pairs(directory: Path, guest: Guest, booted: Booted) -> Iterator[Callable[..., Pair]]:
    """Makes one pair of QEMUs, whose guest ticks already: `pairs(Plan(), Plan(fmt="qcow2"), paused=True, ...)`."""
    with ExitStack() as ended:

        def pair(*plans: Plan, behaves: Guest = guest, **options: Any) -> Pair:
            return ended.enter_context(Pair(directory, behaves, plans or (Plan(),), booted=booted, **options))

        yield pair


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with everybody's certificates, for the loopback."""
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def crossings(tls: Path) -> Iterator[Callable[..., Crossing]]:
    """Makes a way over for a pair, with TLS: `crossings(pair, cable=True, options=["--window", "1MiB"])`."""
    with ExitStack() as ended:
        yield lambda pair, **options: ended.enter_context(Crossing(pair, tls, **options))


@pytest.fixture
def fleets(directory: Path, guest: Guest, booted: Booted, tls: Path) -> Iterator[Callable[..., Fleet]]:
    """Makes a host with so many VMs: `fleets(6)`."""
    with ExitStack() as ended:
        yield lambda count, **options: ended.enter_context(Fleet(directory, guest, booted, tls, count, **options))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Shortens the timeouts of every daemon and command that is started after its call."""
    path = f"{HERE / 'hasty'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return lambda: monkeypatch.setenv("PYTHONPATH", path)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[None]]:
    """Daemons and commands that are started meanwhile are of a later release: `with later(): ...`; `later(2)`: without version 1."""

    @contextmanager
    def begun(lowest: int = 1) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{HERE / 'later'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
            patch.setenv("NBDTUN_LATER", f"{lowest}")
            yield

    return begun


@pytest.fixture
def memory(directory: Path) -> Iterator[Path]:
    """The socket of an NBD server with an empty disk of 64 MiB."""
    path = directory / "nbd.sock"
    with Process(["nbdkit", "-f", "-U", path, "memory", "64M"], directory / "nbdkit.log") as server:
        wait(path.exists, 10, "nbdkit", server)
        yield path


@pytest.fixture
def rig(pairs: Callable[..., Pair]) -> Iterator[Callable[..., Any]]:
    """Makes a pair of QEMUs that can be migrated without the tunnel: `async with rig(Plan(), ...) as one:`."""
    rigs: list[Rig] = []

    @asynccontextmanager
    async def make(*plans: Plan, **options: Any) -> AsyncIterator[Rig]:
        one = Rig(pairs(*plans, **options))
        rigs.append(one)
        if not options.get("paused"):
            one.source.wait_ticks(5)
        await one.tunnel.start()
        try:
            yield one
        finally:
            await one.daemon.stop()
            await one.tunnel.stop()
            one.tunnel.cut_control()
            await pause(0.05)

    yield make
    for one in rigs:
        one.ended.close()
