"""The command as it is called, what it prints, and what it finds running; a reactor that runs a script."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from nbdtun.cli import main
from nbdtun.migration.progress import DiskProgress, Measures, Phase, Progress
from nbdtun.service.control.commands import Status

ROOT = Path(__file__).parent.parent.parent
MIGRATE = ("migrate", "web1", "--qmp", "/run/web1.qmp", "--to", "unix:/run/tunnel.sock")

PROGRESS = Progress(
    time=1.0, elapsed=2.0, phase=Phase.MIRROR, disks=(DiskProgress("vda", 100 << 20, 40 << 20),), converge=Measures(lagging=("vda",))
)
#: What the control socket of a migration answers, and what is said of it.
REPORT: dict[str, Any] = {"kind": "migration", "name": "web1", "pid": 7, "progress": PROGRESS.as_json()}
SENTENCE = "web1 (pid 7): copying disks; vda 40 % of 100 MiB; vda is not converging"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    out, err = capsys.readouterr()
    return status, out, err


class Running:
    """What runs here, as the commands find it: each is asked, and answers with its report or an error."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.bases: set[Path] = set()

    async def ask(self, reactor: object, base: Path, name: str, command: type[object] = Status, **arguments: Any) -> dict[str, Any]:
        self.bases.add(base)
        self.asked.append((name, command.__name__, arguments))
        if self.error is not None:
            raise self.error
        return self.reports[0]

    async def all(self, reactor: object, base: Path) -> list[dict[str, Any]]:
        self.bases.add(base)
        return self.reports


def at_once(work: Callable[[object], Coroutine[Any, Any, Any]]) -> Any:
    """What ``work`` returns or raises; it waits for nothing, so it needs no reactor."""
    done = Deferred.fromCoroutine(work(None))
    outcome = done.result
    if isinstance(outcome, Failure):
        done.addErrback(lambda _: None)
        outcome.raiseException()
    return outcome


class FakeReactor(MemoryReactor):
    """Runs what it is given, in order, until it is stopped; ``script`` is what happens while it runs."""

    def __init__(self, *script: Callable[[], None]) -> None:
        super().__init__()
        self._calls: list[Callable[[], object]] = []
        self._script = list(script)
        self._stopped = False

    def callWhenRunning(self, callable: Callable[..., object], *args: Any, **kw: Any) -> None:
        self._calls.append(partial(callable, *args, **kw))

    callFromThread = callWhenRunning

    def run(self, installSignalHandlers: bool = True) -> None:
        assert not installSignalHandlers
        while not self._stopped:
            if self._calls:
                self._calls.pop(0)()
            else:
                self._script.pop(0)()

    def stop(self) -> None:
        assert not self._stopped
        self._stopped = True


def interrupts(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


class Gone(io.StringIO):
    """A terminal that has gone away."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
