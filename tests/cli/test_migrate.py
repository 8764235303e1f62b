"""``nbdtun migrate`` from outside: what becomes of its options, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from nbdtun.config import MigrateSettings, Owner, TunnelSettings
from nbdtun.errors import ConfigError, MirrorFailed
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.timeouts import DEFAULTS, OnTimeout, Timeouts
from nbdtun.units import parse_duration
from tests.cli.stage import MIGRATE, ROOT, run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("migrate",), "Missing argument 'VM'."),
        (("migrate", "web1"), "Missing option '--qmp'."),
        ((*MIGRATE, "--nonsense"), "No such option"),
        ((*MIGRATE, "--window", "much"), "Invalid value for '--window': 'much' is not a size such as 64KiB, 500MiB or 10G"),
        ((*MIGRATE, "--downtime", "soon"), "Invalid value for '--downtime': 'soon' is not a duration such as 300ms, 2s or 5min"),
        ((*MIGRATE, "--bandwidth", "-1"), "Invalid value for '--bandwidth': '-1' is not a size"),
        ((*MIGRATE, "--socket-owner", "nobody-here"), "Invalid value for '--socket-owner': there is no user 'nobody-here'"),
        ((*MIGRATE, "--progress", "pie"), "Invalid value for '--progress': 'pie' is not one of 'bar', 'json', 'none'."),
        ((*MIGRATE, "--timeout", "soon"), "Invalid value for '--timeout': 'soon' is not a duration such as 300ms, 2s or 5min"),
        ((*MIGRATE, "--timeout", "finish=1s"), "Invalid value for '--timeout': 'finish' is not a phase with a time limit: it is one of"),
        ((*MIGRATE, "--timeout", "0s"), "total timeout must be more than 0, not 0"),
        ((*MIGRATE, "--stall-timeout", "never"), "Invalid value for '--stall-timeout': 'never' is not a duration"),
        (
            (*MIGRATE, "--converge", "hope"),
            "Invalid value for '--converge': 'hope' does not help to converge: it is one of",
        ),
        ((*MIGRATE, "--converge", "downtime", "--downtime", "6s"), "max downtime, 5 s, must be more than the downtime, 6 s"),
        ((*MIGRATE, "--on-timeout", "wait"), "Invalid value for '--on-timeout': 'wait' is not one of 'cancel', 'force'."),
        ((*MIGRATE, "--window", "1k"), "window: 1 KiB is not between 64 KiB and 1 GiB"),
        ((*MIGRATE, "--bandwidth", "0"), "bandwidth must be more than 0, not 0"),
        ((*MIGRATE, "--tls-dir", "/pki"), "unix:/run/tunnel.sock: names no host to verify; give --tls-name"),
        (
            ("migrate", "web1", "--qmp", "/q", "--to", "tcp:dest:10810"),
            "tcp:dest:10810: without --tls-dir, nbdtun will connect to loopback",
        ),
        (("migrate", "../web1", "--qmp", "/q", "--to", "unix:/a"), "'../web1' is not a name"),
        (("migrate", "web1", "--qmp", "q" * 108, "--to", "unix:/a"), "q" * 108 + ": 108 bytes"),
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
    service.migrate = lambda reactor, settings, report: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nbdtun.service", service)
    monkeypatch.setattr("nbdtun.service", service, raising=False)
    monkeypatch.setattr("nbdtun.cli.migrate.log_to_stderr", lambda *, bars: None)

    def attend(reactor: Any, start: Any, display: Any) -> int:
        started.append((start.args[1], type(display).__name__))
        return 3

    monkeypatch.setattr("nbdtun.cli.attend.attend", attend)
    return started


def test_the_defaults_of_migrate(attended: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *MIGRATE) == (3, "", "")
    assert attended == [
        (MigrateSettings(connect="unix:/run/tunnel.sock", qmp="/run/web1.qmp", migration=MigrationSettings(vm="web1")), "Patient")
    ]


def test_the_limits_that_the_help_tells_are_those_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "migrate", "--help")
    told = dict(re.findall(r"(prepare|ready|switchover)=(\w+)", out))
    assert {phase.value: seconds for phase, seconds in DEFAULTS.items() if seconds} == {name: parse_duration(t) for name, t in told.items()}


def test_all_options_of_migrate(attended: list[tuple[Any, str]], capsys: pytest.CaptureFixture[str]) -> None:
    words = "--tls-dir /pki --tls-name d --insecure --disk a --disk b --bandwidth 500MiB/s --downtime 1s --keep-source --progress none"
    more = "--run-dir /run/x --socket-owner 0:0 --resume-window 1min --link-timeout 5 --window 1GiB"
    timeouts = "--timeout 2h --timeout mirror=1h --timeout ready=none --stall-timeout none --on-timeout force"
    help_ = "--converge write-blocking,downtime --max-downtime 9s"
    assert run(capsys, *MIGRATE, *words.split(), *more.split(), *timeouts.split(), *help_.split()) == (3, "", "")
    tunnel = TunnelSettings(
        tls_dir="/pki",
        tls_name="d",
        insecure=True,
        run_dir="/run/x",
        socket_owner=Owner(0, 0),
        window=2**30,
        link_timeout=5.0,
        resume_window=60.0,
    )
    wanted = MigrationSettings(
        vm="web1",
        disks=("a", "b"),
        bandwidth=500 * 2**20,
        downtime=1.0,
        keep_source=True,
        converge=frozenset({Strategy.WRITE_BLOCKING, Strategy.DOWNTIME}),
        max_downtime=9.0,
        timeouts=Timeouts(phases={Phase.MIRROR: 3600.0, Phase.READY: None}, total=7200.0, stall=None, on_timeout=OnTimeout.FORCE),
    )
    assert attended == [(MigrateSettings(tunnel=tunnel, connect="unix:/run/tunnel.sock", qmp="/run/web1.qmp", migration=wanted), "Nothing")]


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

def migrate(reactor, settings, report):
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
sys.modules["nbdtun.service"] = service
import nbdtun
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
