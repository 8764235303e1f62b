"""``nbdtun migrate`` from outside: what becomes of its options, what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nbdtun.service
from nbdtun.config import MigrateSettings
from nbdtun.errors import ConfigError, MirrorFailed
from nbdtun.migration.settings import MigrationSettings
from tests.cli.stage import MIGRATE, ROOT, run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("migrate",), "Missing argument 'VM'."),
        (("migrate", "web1"), "Missing option '--qmp': QMP socket of the VM to migrate"),
        ((*MIGRATE, "--nonsense"), "No such option"),
        ((*MIGRATE, "--window", "much"), "Invalid value for '--window': 'much' is not a size such as 64KiB, 500MiB or 10G"),
        ((*MIGRATE, "--progress", "pie"), "Invalid value for '--progress': 'pie' is not one of 'bar', 'json', 'final', 'none'."),
        ((*MIGRATE, "--leave-behind", "luggage"), "Invalid value for '--leave-behind': 'luggage' cannot be left behind; use one of"),
        ((*MIGRATE, "--window", "1k"), "window: 1 KiB is not between 64 KiB and 1 GiB"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {line}")
    assert err.count("\n") == 1


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """What would have been started, with the display's kind; nothing is."""
    started: list[tuple[Any, str]] = []
    service = ModuleType("nbdtun.service")
    service.__path__ = nbdtun.service.__path__  # what is inside is real
    service.migrate = lambda reactor, settings, report, log, say, workers: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nbdtun.service", service)
    monkeypatch.setattr("nbdtun.service", service, raising=False)
    monkeypatch.setattr("nbdtun.cli.migrate.log_to_stderr", lambda *, bars, form: None)

    def attend(reactor: Any, start: Any, display: Any, terminal: Any, detached: Any, silent_about: str) -> int:
        assert start.keywords["log"]() is None
        started.append((start.args[1], type(display).__name__))
        return 3

    monkeypatch.setattr("nbdtun.cli.attend.attend", attend)
    return started


def test_the_defaults_of_migrate(attended: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *MIGRATE) == (3, "", "")
    assert attended == [
        (MigrateSettings(connect="unix:/run/tunnel.sock", qmp="/run/web1.qmp", migration=MigrationSettings(vm="web1")), "Patient")
    ]


def test_the_options_of_migrate_alone(attended: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *MIGRATE, "--keep-source", "--progress", "none") == (3, "", "")
    ((settings, display),) = attended
    assert (settings.migration, display) == (MigrationSettings(vm="web1", keep_source=True), "Nothing")


@pytest.mark.parametrize(("cores", "words", "count"), [(2, (), 1), (8, (), 4), (8, ("--workers", "1"), 1), (2, ("--workers", "3"), 3)])
def test_its_channels_have_workers(
    attended: list[tuple[Any, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    words: tuple[str, ...],
    count: int,
) -> None:
    """As many as are asked for, or as there are cores for."""
    made: list[tuple[int, bool]] = []
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr("nbdtun.daemon.worker.workers", lambda plugin, count, asked: made.append((count, asked)))
    assert run(capsys, *MIGRATE, *words)[0] == 3
    assert made == [(count, bool(words))]


def test_links_through_ssh_have_no_workers(attended: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("migrate", "web1", "--qmp", "/run/web1.qmp", "--to", "ssh://hv2", "--through-ssh", "--workers", "2")
    said = "nbdtun: --workers 2: one process makes the links through ssh; leave out one of the two [config]\n"
    assert run(capsys, *words) == (2, "", said)


@pytest.mark.parametrize(
    ("error", "status"), [(ConfigError("/pki: Permission denied"), 2), (MirrorFailed("vda"), 1), (KeyboardInterrupt(), 130)]
)
def test_what_fails_before_it_starts(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: Any) -> None:
        raise error

    monkeypatch.setattr("nbdtun.cli.migrate.read_settings", fail)
    got, out, err = run(capsys, *MIGRATE)
    assert (got, out, err.lstrip("\n")) == (status, "", f"nbdtun: {getattr(error, 'line', 'interrupted')}\n")


# As a process, with a real reactor and a migration that is none.

FAKE = """
import sys, types
from twisted.internet.defer import Deferred
from nbdtun.errors import MirrorFailed
from nbdtun.migration.progress import Phase, Progress

def migrate(reactor, settings, report, log, say, workers):
    deferred, rollback = Deferred(), Deferred()
    final = Progress(time=3.0, elapsed=2.0, phase=Phase.CANCELLED)
    def rolled_back():
        report(final)
        rollback.callback(final)
    def roll_back(failure):
        reactor.callLater(0.5, rolled_back)
        return rollback
    if settings.migration.vm == "stays":
        deferred.addErrback(roll_back)
    else:
        reactor.callLater(0, deferred.errback, MirrorFailed("vda: no space left"))
    report(Progress(time=1.0, elapsed=0.0, phase=Phase.MIRROR))
    return deferred

service = types.ModuleType("nbdtun.service")
service.migrate = migrate
import nbdtun
service.__path__ = [nbdtun.__path__[0] + "/service"]
sys.modules["nbdtun.service"] = service
nbdtun.service = service
from nbdtun.cli import main
sys.exit(main(sys.argv[1:]))
"""


def process(*words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FAKE, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_rolls_back_and_says_so(number: int) -> None:
    with process("migrate", "stays", *MIGRATE[2:], "--progress", "json") as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(number)
        time.sleep(0.1)
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert [json.loads(line)["phase"] for line in (first, *out.splitlines())] == ["mirror", "cancelled"]
    assert err == "nbdtun: interrupted, rolling back\nnbdtun: already rolling back\n"


def test_a_failed_process_has_one_line_and_its_last_object() -> None:
    with process("migrate", "fails", *MIGRATE[2:], "--progress", "json") as running:
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (1, "nbdtun: vda: no space left [mirror]\n")
    last = json.loads(out.splitlines()[-1])
    assert (last["phase"], last["error"], last["code"]) == ("failed", "vda: no space left", "mirror")


def test_a_reader_that_goes_away_is_no_reason_to_fail() -> None:
    with process("migrate", "stays", *MIGRATE[2:], "--progress", "json") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        running.terminate()
        assert running.stderr.read() == "nbdtun: interrupted, rolling back\n"
    assert running.returncode == 130


@contextlib.contextmanager
def on_a_terminal(*words: str, stderr: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The same process, which a terminal belongs to; and the terminal's other end."""
    terminal, end = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", FAKE, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=end,
        stdout=end,
        stderr=end if stderr is None else stderr,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(end)
    try:
        shown = b""
        while b"copying disks" not in shown:
            shown += os.read(terminal, 4096)
        yield running, terminal
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("redirected", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_that_is_closed_changes_nothing_and_signals_are_heard(redirected: bool, number: int, tmp_path: Path) -> None:
    """It is closed with SIGHUP, and nothing can be written to it any more."""
    err = (tmp_path / "err").open("wb")
    words = ("migrate", "stays", *MIGRATE[2:], "--run-dir", f"{tmp_path}/run")
    with err, on_a_terminal(*words, stderr=err.fileno() if redirected else None) as (running, terminal):
        os.close(terminal)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)
        running.send_signal(number)
        assert running.wait(20) == 130
    log, told = (tmp_path / "run/stays.log").read_text(), (tmp_path / "err").read_text()
    gone = "the terminal was closed; the migration goes on: `nbdtun status` shows it, `nbdtun cancel` rolls it back"
    for line in (gone, "interrupted, rolling back"):
        assert f"nbdtun: {line}\n" in (told if redirected else log)
    assert "stays: was not migrated; total" in log
    assert all(f" nbdtun[{running.pid}]: " in line for line in log.splitlines())
    assert "Traceback" not in log + told
    assert redirected or told == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_below_nohup_a_closed_terminal_is_noticed_and_signals_are_heard(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.FAKE", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + FAKE)
    with on_a_terminal("migrate", "stays", *MIGRATE[2:], "--run-dir", f"{tmp_path}/run") as (running, terminal):
        os.close(terminal)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)
        running.send_signal(number)
        assert running.wait(20) == 130
    log = (tmp_path / "run/stays.log").read_text()
    assert "interrupted, rolling back" in log
    assert "the terminal was closed" not in log


def test_bars_leave_a_redirected_standard_error_alone(tmp_path: Path) -> None:
    err = (tmp_path / "err").open("wb")
    with err, on_a_terminal("migrate", "stays", *MIGRATE[2:], stderr=err.fileno()) as (running, terminal):
        running.terminate()
        assert running.wait(20) == 130
        os.close(terminal)
    assert (tmp_path / "err").read_text() == "nbdtun: interrupted, rolling back\n"
