"""The options that say which migration is meant: what settings they make, and the line for each mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from nbdtun.cli.options import SpelledOut, migration_options, read_settings
from nbdtun.config import MigrateSettings, Owner, TunnelSettings
from nbdtun.config.libvirt import SYSTEM, DomainSettings
from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import MigrationSettings, Strategy
from nbdtun.migration.timeouts import DEFAULTS, OnTimeout, Timeouts
from nbdtun.spawn.rewrite.answers import Answers, Mapped
from nbdtun.units import parse_duration

WEB1 = ("web1", "--qmp", "/run/web1.qmp", "--to", "unix:/run/tunnel.sock")


@click.command("any", cls=SpelledOut)
@migration_options
def command(**options: Any) -> MigrateSettings | DomainSettings:
    """A command that has these options, and no others."""
    return read_settings(**options)


def read(*words: str) -> MigrateSettings:
    settings: MigrateSettings = command.main(list(words), standalone_mode=False)
    return settings


def mistake(*words: str) -> str:
    with pytest.raises((click.ClickException, ConfigError)) as caught:
        read(*words)
    error = caught.value
    return error.format_message() if isinstance(error, click.ClickException) else str(error)


def test_the_defaults_are_those_of_the_settings() -> None:
    assert read(*WEB1) == MigrateSettings(connect="unix:/run/tunnel.sock", qmp="/run/web1.qmp", migration=MigrationSettings(vm="web1"))


def test_all_options() -> None:
    words = "--tls-dir /pki --tls-name d --insecure --disk a --disk b --bandwidth 500MiB/s --downtime 1s"
    more = "--run-dir /run/x --socket-owner 0:0 --resume-window 1min --link-timeout 5s --handshake-timeout 3s --window 1GiB"
    timeouts = "--timeout 2h --timeout mirror=1h --timeout ready=none --stall-timeout none --on-timeout force"
    helps = "--converge write-blocking,downtime --max-downtime 9s"
    tunnel = TunnelSettings(
        tls_dir="/pki",
        tls_name="d",
        insecure=True,
        run_dir="/run/x",
        socket_owner=Owner(0, 0),
        window=2**30,
        link_timeout=5.0,
        resume_window=60.0,
        handshake_timeout=3.0,
    )
    wanted = MigrationSettings(
        vm="web1",
        disks=("a", "b"),
        bandwidth=500 * 2**20,
        downtime=1.0,
        converge=frozenset({Strategy.WRITE_BLOCKING, Strategy.DOWNTIME}),
        max_downtime=9.0,
        timeouts=Timeouts(phases={Phase.MIRROR: 3600.0, Phase.READY: None}, total=7200.0, stall=None, on_timeout=OnTimeout.FORCE),
    )
    assert read(*WEB1, *words.split(), *more.split(), *timeouts.split(), *helps.split()) == MigrateSettings(
        tunnel=tunnel, connect="unix:/run/tunnel.sock", qmp="/run/web1.qmp", migration=wanted
    )


def test_the_limits_that_the_help_tells_are_those_in_force() -> None:
    told = dict(re.findall(r"(prepare|ready|switchover)=(\w+)", command.get_help(click.Context(command))))
    assert {phase.value: seconds for phase, seconds in DEFAULTS.items() if seconds} == {name: parse_duration(t) for name, t in told.items()}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "Missing argument 'VM'."),
        (("web1",), "Missing option '--qmp'"),
        ((*WEB1, "--window", "much"), "Invalid value for '--window': 'much' is not a size such as 64KiB, 500MiB or 10G"),
        ((*WEB1, "--downtime", "soon"), "Invalid value for '--downtime': 'soon' is not a duration such as 300ms, 2s or 5min"),
        ((*WEB1, "--bandwidth", "-1"), "Invalid value for '--bandwidth': '-1' is not a rate"),
        ((*WEB1, "--socket-owner", "nobody-here"), "Invalid value for '--socket-owner': there is no user 'nobody-here'"),
        ((*WEB1, "--timeout", "soon"), "Invalid value for '--timeout': 'soon' is not a duration such as 300ms, 2s or 5min"),
        ((*WEB1, "--timeout", "finish=1s"), "Invalid value for '--timeout': 'finish' is not a phase with a time limit; use one of"),
        ((*WEB1, "--timeout", "0s"), "total timeout must be more than 0, not 0"),
        ((*WEB1, "--stall-timeout", "never"), "Invalid value for '--stall-timeout': 'never' is not a duration"),
        ((*WEB1, "--converge", "hope"), "Invalid value for '--converge': 'hope' is not a way to converge; use one of"),
        ((*WEB1, "--converge", "downtime", "--downtime", "6s"), "max downtime, 5 s, must exceed the downtime, 6 s"),
        ((*WEB1, "--on-timeout", "wait"), "Invalid value for '--on-timeout': 'wait' is not a choice; use one of cancel, force"),
        ((*WEB1, "--window", "1k"), "window: 1 KiB is not between 64 KiB and 1 GiB"),
        ((*WEB1, "--bandwidth", "0"), "bandwidth must be more than 0, not 0"),
        ((*WEB1, "--tls-dir", "/pki"), "unix:/run/tunnel.sock: no host name to verify; give --tls-name"),
        (("web1", "--qmp", "/q", "--to", "tcp:dest:10810"), "tcp:dest:10810: without --tls-dir, nbdtun will connect to loopback"),
        (("../web1", "--qmp", "/q", "--to", "unix:/a"), "'../web1' is not a valid name"),
        (("web1", "--qmp", "/q", "--to", "https://dest"), "Invalid value for '--to': 'https://dest' is not an endpoint to connect to"),
        (
            ("web1", "--qmp", "q" * 108, "--to", "unix:/a"),
            f"Invalid value for '--qmp': {'q' * 108}: too long for the path of a UNIX socket: 108 bytes, at most 107",
        ),
    ],
)
def test_a_mistake_is_named(words: tuple[str, ...], line: str) -> None:
    assert mistake(*words).startswith(line)


def read_domain(*words: str) -> DomainSettings:
    settings: DomainSettings = command.main(list(words), standalone_mode=False)
    return settings


def test_a_vm_of_libvirts_needs_no_monitor() -> None:
    for words in (
        ("web1", "--libvirt"),
        ("--libvirt", "web1"),
        ("--libvirt=qemu:///system", "web1"),
        ("web1", "--libvirt", "qemu:///system"),
    ):
        settings = read_domain(*words, "--to", "unix:/run/tunnel.sock")
        assert (settings.migration.vm, settings.uri, settings.migration.connections, settings.far.libvirt) == ("web1", SYSTEM, 0, "")


def test_what_differs_for_it_may_have_names_and_paths(tmp_path: Path) -> None:
    settings = read_domain(
        "web1", "--libvirt", "--to", "ssh://dest", "--map", "br0=br1", "--map", "/a=/b", "--overwrite", "--connections", "4"
    )
    assert settings.answers == Answers(maps=(Mapped("br0", "br1"), Mapped("/a", "/b")), overwrite=True)
    assert (settings.migration.connections, settings.far.libvirt) == (4, "qemu:///system")
    (tmp_path / "web1.xml").write_text("<domain/>")
    assert read_domain("web1", "--libvirt", "--to", "unix:/a", "--dest-xml", f"{tmp_path}/web1.xml").dest_xml == "<domain/>"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("web1", "--libvirt", "--qmp", "/q", "--to", "unix:/a"), "--qmp and --far-qmp are for VMs without libvirt"),
        (("web1", "--libvirt=qemu+ssh://dest/system", "--to", "unix:/a"), "Invalid value for '--libvirt': 'qemu+ssh://dest/system' is not"),
        (("web1", "--libvirt", "--to", "unix:/a", "--connections", "256"), "connections: 256 is not between 0 and 255"),
        ((*WEB1, "--connections", "256"), "connections: 256 is not between 0 and 255"),
        (("web1", "--qmp", "/q", "--to", "ssh://dest", "--map", "br0=br1"), "--map br0=br1: names are mapped with --libvirt"),
    ],
)
def test_what_is_for_the_other_kind_of_vm_is_refused(words: tuple[str, ...], line: str) -> None:
    assert mistake(*words).startswith(line)
