"""The source's plugin: its options, and the services that are made of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nbdtun.config import Forward, LocalLimits, MigrateSettings, SourceSettings, TunnelSettings
from nbdtun.daemon.service import Daemon
from nbdtun.daemon.source_tap import Options, SourceTask, makeService
from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.timeouts import OnTimeout, Timeouts
from tests.daemon.stage import FakeServices, mistake

MIGRATE = ("--connect", "unix:/t", "--migrate", "web1", "--qmp", "/q")
FORWARD = ("--connect", "unix:/t", "--forward", "a=unix:/a")


def source(*words: str) -> SourceTask:
    options = Options()
    options.read(words)
    return options.settings


def test_a_source_that_forwards() -> None:
    task = source(
        "--connect", "tcp:dest:10810", "--tls-dir", "/pki", "--tls-name", "d", "--forward", "a=unix:/a:mode=660", "--forward", "b=unix:/b"
    )
    assert task.migrate is None
    assert task.forward == SourceSettings(
        tunnel=TunnelSettings(tls_dir="/pki", tls_name="d"),
        connect="tcp:dest:10810",
        forwards=(Forward("a", "unix:/a:mode=660"), Forward("b", "unix:/b")),
    )


def test_a_source_that_migrates() -> None:
    words = ("--connect", "unix:/t", "--migrate", "web1", "--qmp", "/q")
    plain = source(*words)
    assert plain == SourceTask(None, MigrateSettings(connect="unix:/t", qmp="/q", migration=MigrationSettings(vm="web1")))
    task = source(*words, "--disk", "d0", "--disk", "d1", "--bandwidth", "500MiB/s", "--downtime", "1s", "--keep-source")
    assert task.migrate is not None
    assert task.migrate.migration == MigrationSettings(vm="web1", disks=("d0", "d1"), bandwidth=500 * 2**20, downtime=1.0, keep_source=True)


def test_a_source_can_do_both() -> None:
    task = source("--connect", "unix:/t", "--migrate", "web1", "--qmp", "/q", "--forward", "a=unix:/a")
    assert task.forward is not None
    assert task.migrate is not None


def test_workers_carry_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of eight cores: four, unless it is said how many, or ssh leads to the destination."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    to, ssh, forward = ("--connect", "unix:/t"), ("--connect", "ssh://h", "--far-target", "a=unix:/b"), ("--forward", "a=unix:/a")
    for words, count in ((to, 4), ((*to, "--workers", "7"), 7), (ssh, 1)):
        options = Options()
        options.read((*words, *forward))
        assert options.workers == count
    assert mistake(source, *ssh, *forward, "--workers", "2").startswith("--workers 2: the far end that ssh starts is for one process; ")
    for more, count in (((), 4), (("--workers", "2"), 2)):
        options = Options()
        options.read((*MIGRATE, *more))
        assert options.workers == count


def test_how_long_a_migration_may_last_and_what_helps_it() -> None:
    words = "--timeout 2h --timeout mirror=1h --timeout ready=none --stall-timeout none --on-timeout force"
    task = source(*MIGRATE, *words.split(), "--converge", "write-blocking,downtime", "--max-downtime", "9s")
    assert task.migrate is not None
    wanted = task.migrate.migration
    assert (wanted.converge, wanted.max_downtime) == (frozenset({Strategy.WRITE_BLOCKING, Strategy.DOWNTIME}), 9.0)
    limits = {Phase.MIRROR: 3600.0, Phase.READY: None}
    assert wanted.timeouts == Timeouts(phases=limits, total=7200.0, stall=None, on_timeout=OnTimeout.FORCE)


@pytest.mark.parametrize(
    ("targets", "named"), [(("a", "a", "b"), "a, b"), ([f"t{each}" for each in range(200)], "t0, t1, t2, t3, t4, t5, t6, t7 and 192 more")]
)
def test_its_first_line_names_a_few_targets(targets: Sequence[str], named: str) -> None:
    """Each once, however many sockets lead to it."""
    options = Options()
    forwards = [word for each, target in enumerate(targets) for word in ("--forward", f"{target}=unix:/{each}")]
    options.read(["--connect", "unix:/t", *forwards])
    assert options.account() == f"forwarding {named} to unix:/t"


def test_what_is_urgent() -> None:
    task = source(*FORWARD, "--forward", "ram=unix:/b", "--urgent", "ram")
    assert task.forward is not None
    assert task.forward.urgent == ("ram",)


def test_how_much_local_programs_can_open() -> None:
    task = source(*FORWARD, "--max-channels", "9", "--max-channels-per-user", "8")
    assert task.forward is not None
    assert task.forward.limits == LocalLimits(9, 8)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "--connect is missing"),
        (("--connect", "unix:/a"), "nothing to do: give --forward, or --migrate with --qmp"),
        (("--connect", "unix:/a", "--migrate", "web1"), "--qmp is missing"),
        ((*FORWARD, "--qmp", "/q"), "--qmp needs --migrate"),
        ((*FORWARD, "--disk", "d"), "--disk needs --migrate"),
        ((*FORWARD, "--timeout", "1h"), "--timeout needs --migrate"),
        ((*FORWARD, "--converge", "downtime"), "--converge needs --migrate"),
        ((*FORWARD, "--keep-source"), "--keep-source needs --migrate"),
        ((*FORWARD, "--urgent", "ram"), "urgent: no forward leads to target ram"),
        ((*FORWARD, "--max-channels-per-user", "0"), "--max-channels-per-user: '0' is not a number from 1"),
        ((*MIGRATE, "--urgent", "ram"), "--urgent needs --forward"),
        (("--connect", "unix:/a", "--forward", "unix:/a"), "--forward: 'unix:/a' does not have the form TARGET=SERVER-ENDPOINT"),
        (("--connect", "dest:nbd", "--forward", "a=unix:/a"), "--connect: 'dest:nbd' is not an endpoint"),
        ((*MIGRATE, "--bandwidth", "-1"), "--bandwidth: '-1' is not a rate"),
        ((*MIGRATE, "--downtime", "soon"), "--downtime: 'soon' is not a duration"),
        ((*MIGRATE, "--timeout", "finish=1s"), "--timeout: 'finish' is not a phase with a time limit"),
        ((*MIGRATE, "--stall-timeout", "never"), "--stall-timeout: 'never' is not a duration"),
        ((*MIGRATE, "--on-timeout", "wait"), "--on-timeout: 'wait' is not a choice; use one of cancel, force"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], line: str) -> None:
    assert mistake(source, *words).startswith(line)


@pytest.mark.parametrize(
    ("words", "made", "services_in_it"),
    [
        (FORWARD, ["SourceService"], 3),
        (MIGRATE, ["MigrationService"], 1),
        ((*MIGRATE, "--forward", "a=unix:/a"), ["SourceService", "MigrationService"], 4),
    ],
)
def test_services_are_made_of_the_settings(words: tuple[str, ...], made: list[str], services_in_it: int, services: FakeServices) -> None:
    options = Options()
    options.parseOptions(words)
    daemon = makeService(options)
    settings = {"SourceService": options.settings.forward, "MigrationService": options.settings.migrate}
    assert services.asked == [(name, settings[name]) for name in made]
    assert isinstance(daemon, Daemon)
    assert len(list(daemon)) == services_in_it
    assert services.governed == (["nbdtun-source"] if "SourceService" in made else [])


def test_a_daemon_that_only_migrates_leaves_after_it(services: FakeServices) -> None:
    for words, leaves in ((MIGRATE, True), ((*MIGRATE, "--forward", "a=unix:/a"), False)):
        options = Options()
        options.parseOptions(words)
        makeService(options)
        assert bool(services.ends) is leaves
        services.ends.clear()


def test_settings_that_fail_later_end_in_one_line_too(services: FakeServices, capsys: pytest.CaptureFixture[str]) -> None:
    services.error = ConfigError("/pki/client-key.pem: Permission denied")
    options = Options()
    options.parseOptions(FORWARD)
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "nbdtun-source: /pki/client-key.pem: Permission denied [config]\n"
