"""Settings cannot be wrong: every mistake is refused where it is made, in one line that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbdtun.config import (
    VM,
    DestinationSettings,
    Forward,
    MigrateSettings,
    SourceSettings,
    Target,
    TunnelSettings,
    VMPattern,
)
from nbdtun.config.settings import FarSettings
from nbdtun.migration.settings import MigrationSettings
from nbdtun.spawn.rewrite.answers import Answers
from tests.config.stage import refused

TLS = TunnelSettings(tls_dir="/etc/pki/nbdtun")
INSECURE = TunnelSettings(insecure=True)
WEB1 = MigrationSettings(vm="web1")
NBD = Forward.parse("nbd=unix:/run/nbdtun/nbd.sock:mode=660")


# The rule of what may be reached without TLS.

OPEN = {"connect": "tcp:dest:10810", "listen": "tcp:10810"}
CLOSED = {"connect": "tcp:127.0.0.1:10810", "listen": "tcp:10810:interface=127.0.0.1"}


def daemons(tunnel: TunnelSettings, endpoints: dict[str, str]) -> None:
    SourceSettings(tunnel=tunnel, connect=endpoints["connect"], forwards=(NBD,))
    MigrateSettings(tunnel=tunnel, connect=endpoints["connect"], qmp="/q", migration=WEB1)
    DestinationSettings(tunnel=tunnel, listen=endpoints["listen"], vms=(VM("web1", "/q"),))


@pytest.mark.parametrize(("tunnel", "endpoints"), [(TLS, OPEN), (INSECURE, OPEN), (TunnelSettings(), CLOSED)])
def test_what_may_be_reached(tunnel: TunnelSettings, endpoints: dict[str, str]) -> None:
    daemons(tunnel, endpoints)


def test_without_tls_nothing_but_loopback() -> None:
    told = refused(SourceSettings, connect="tcp:dest:10810", forwards=(NBD,))
    assert told.startswith("tcp:dest:10810: without --tls-dir,")
    assert "--insecure" in told
    assert refused(MigrateSettings, connect="tcp:dest:10810", qmp="/q", migration=WEB1) == told
    assert "tcp:10810: without --tls-dir" in refused(DestinationSettings, listen="tcp:10810", vms=(VM("web1", "/q"),))


@pytest.mark.parametrize("tunnel", [TLS, TunnelSettings()])
def test_a_forward_that_others_could_use_needs_consent(tunnel: TunnelSettings) -> None:
    everybody = Forward.parse("nbd=tcp:10809")
    assert "tcp:10809: others could reach target nbd" in refused(
        SourceSettings, tunnel=tunnel, connect="tcp:127.0.0.1:10810", forwards=(everybody,)
    )
    SourceSettings(tunnel=TunnelSettings(insecure=True), connect="tcp:127.0.0.1:10810", forwards=(everybody,))


# The name that is verified.


@pytest.mark.parametrize(
    ("connect", "tls_name", "verified"),
    [
        ("tcp:dest.example:10810", None, "dest.example"),
        ("tcp:192.0.2.1:10810", None, "192.0.2.1"),
        (r"tcp:fd00\:\:1:10810", None, "fd00::1"),
        ("tcp:192.0.2.1:10810", "dest.example", "dest.example"),
        ("unix:/run/tunnel.sock", "dest.example", "dest.example"),
    ],
)
def test_which_name_is_verified(connect: str, tls_name: str | None, verified: str) -> None:
    tunnel = TunnelSettings(tls_dir="/pki", tls_name=tls_name)
    assert SourceSettings(tunnel=tunnel, connect=connect, forwards=(NBD,)).peer_name == verified


def test_no_name_without_tls() -> None:
    assert SourceSettings(connect="unix:/a", forwards=(NBD,)).peer_name is None


def test_tls_needs_a_name() -> None:
    assert refused(SourceSettings, tunnel=TLS, connect="unix:/a", forwards=(NBD,)) == "unix:/a: no host name to verify; give --tls-name"
    assert refused(TunnelSettings, tls_name="dest") == "--tls-name needs --tls-dir"
    assert "'a b'" in refused(TunnelSettings, tls_dir="/pki", tls_name="a b")
    assert "verified" in refused(SourceSettings, tunnel=TLS, connect="tcp:a b:1", forwards=(NBD,))


def test_the_defaults_are_the_options_defaults() -> None:
    tunnel = TunnelSettings()
    assert (tunnel.window, tunnel.link_timeout, tunnel.resume_window) == (64 * 2**20, 15.0, 300.0)
    assert (tunnel.socket_mode, tunnel.insecure, tunnel.tls_dir) == (0o600, False, None)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"window": 1000}, "window: 0.98 KiB is not between 64 KiB and 1 GiB"),
        ({"window": 2**31}, "window: 2 GiB is not"),
        ({"link_timeout": 0.0}, "link-timeout: 0 ms is not"),
        ({"resume_window": 1e9}, "resume-window: "),
        ({"socket_mode": 0o4755}, "4755 is not a mode"),
    ],
)
def test_figures_out_of_range(wrong: dict[str, Any], text: str) -> None:
    assert text in refused(TunnelSettings, **wrong)


def test_a_destination_needs_something_to_serve_each_under_its_own_name() -> None:
    assert "at least one --target or --vm" in refused(DestinationSettings, listen="unix:/a")
    twice = (Target("nbd", "unix:/a"), Target("nbd", "unix:/b"))
    assert refused(DestinationSettings, listen="unix:/x", targets=twice) == "this daemon has two targets named nbd"
    for name in ("control", "sink"):
        taken = refused(DestinationSettings, listen="unix:/x", targets=(Target(name, "unix:/a"),))
        assert taken == f"a target cannot be named {name}: nbdtun uses that name itself"
    assert "two VMs named a" in refused(DestinationSettings, listen="unix:/x", vms=(VM("a", "/a"), VM("a", "/b")))
    patterns = (VMPattern("*", "/a/{vm}"), VMPattern("*", "/b/{vm}"))
    assert DestinationSettings(listen="unix:/x", vms=patterns).vms == patterns


def test_a_source_listens_once_on_a_socket_and_may_reach_a_target_twice() -> None:
    one, other = Forward("nbd", "unix:/a"), Forward("nbd", "unix:/b")
    assert SourceSettings(connect="unix:/x", forwards=(one, other)).forwards == (one, other)
    assert "listens on unix:/a twice" in refused(SourceSettings, connect="unix:/x", forwards=(one, Forward("ram", "unix:/a")))


def test_a_migrations_vm_is_a_name() -> None:
    assert "'../x' is not a valid name" in refused(MigrateSettings, connect="unix:/a", qmp="/q", migration=MigrationSettings(vm="../x"))


def test_a_code_takes_the_place_of_certificates() -> None:
    def migration(**more: Any) -> MigrateSettings:
        words: dict[str, Any] = {"connect": "dest:10810", "qmp": "/q", "migration": WEB1, "code": "7-crossover-clockwork"}
        return MigrateSettings(**words | more)

    assert migration().connect == "dest:10810"
    assert "leave --tls-dir and --tls-name out" in refused(migration, tunnel=TLS)
    assert "ssh needs no code" in refused(migration, connect="ssh://dest")
    assert "is not an endpoint to connect to" in refused(migration, connect="dest:")
    assert "are for ssh://HOST" in refused(migration, far=FarSettings(through_ssh=True))


def test_a_destination_is_made_by_ssh_or_a_code_only() -> None:
    answers = Answers(settings=("vnc.vnc=:7",))
    words: dict[str, Any] = {"qmp": "/q", "migration": WEB1, "answers": answers}
    assert MigrateSettings(connect="dest:10810", code="7-crossover-clockwork", **words).answers is answers
    assert MigrateSettings(connect="ssh://dest", **words).answers is answers
    for more in ({"connect": "ssh://dest", "far": FarSettings(qmp="/q")}, {"connect": "unix:/a"}):
        assert "are for --to ssh://HOST or --code, where no QEMU waits" in refused(MigrateSettings, **words, **more)


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        TunnelSettings().window = 3  # type: ignore[misc]


def test_directories_are_seen_from_where_the_command_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = TunnelSettings(tls_dir="pki", run_dir="run")
    monkeypatch.chdir("/")
    assert (settings.tls_dir, settings.run_dir) == (f"{tmp_path}/pki", f"{tmp_path}/run")
    assert TunnelSettings().tls_dir is TunnelSettings().run_dir is None


def test_paths_of_sockets_are_checked() -> None:
    assert "108 bytes" in refused(MigrateSettings, connect="unix:/a", qmp="x" * 108, migration=WEB1)
    assert "108 bytes" in refused(SourceSettings, connect="unix:" + "x" * 108, forwards=(NBD,))


def test_what_is_urgent_is_forwarded() -> None:
    forward = Forward("nbd", "unix:/a")
    assert SourceSettings(connect="unix:/x", forwards=(forward,), urgent=("nbd",)).urgent == ("nbd",)
    told = refused(SourceSettings, connect="unix:/x", forwards=(forward,), urgent=("ram",))
    assert told == "urgent: no forward leads to target ram"


def test_patterns_for_names_need_certificates() -> None:
    vms = (VM("web1", "/q"),)
    assert refused(DestinationSettings, listen="unix:/x", vms=vms, allow=("src*",)).startswith("--allow needs --tls-dir")
    assert DestinationSettings(tunnel=TLS, listen="unix:/x", vms=vms, allow=("src*",)).allow == ("src*",)


# Destinations that ssh reaches.


def by_ssh(connect: str = "ssh://me@dest", **more: Any) -> MigrateSettings:
    return MigrateSettings(connect=connect, qmp="/q", migration=WEB1, **more)


def test_ssh_needs_no_certificates() -> None:
    settings = by_ssh(far=FarSettings(qmp="/far", ports=(1, 2)))
    assert f"{settings.by_ssh}" == "ssh://me@dest"
    assert settings.peer_name is None
    assert migration().by_ssh is None


def test_nor_takes_any() -> None:
    assert "leave --tls-dir and --tls-name out" in refused(by_ssh, tunnel=TLS)
    assert "leave the path out" in refused(by_ssh, "ssh://dest/srv")
    assert "is empty, or has more than one line" in refused(FarSettings, remote="a\nb")


def test_options_of_ssh_are_for_ssh() -> None:
    assert "are for ssh://HOST" in refused(migration, far=FarSettings(through_ssh=True))


def test_a_tunnel_alone_has_its_targets_there() -> None:
    far = FarSettings(targets=(Target.parse("nbd=unix:/run/far.sock"),))
    assert SourceSettings(connect="ssh://dest", far=far, forwards=(NBD,)).by_ssh is not None
    assert "leads to target nbd, which no --far-target names" in refused(SourceSettings, connect="ssh://dest", forwards=(NBD,))


def migration(**more: Any) -> MigrateSettings:
    return MigrateSettings(connect="unix:/run/tunnel.sock", qmp="/q", migration=WEB1, **more)
