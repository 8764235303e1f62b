"""Values of options become settings, whatever face they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbdtun.config import MigrationSettings, Owner, Strategy, Timeouts, TunnelSettings, options
from nbdtun.config.build import far_settings, migration_settings, tunnel_settings
from nbdtun.config.option import Option
from nbdtun.config.settings import FarSettings
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import HOLD
from nbdtun.tls.store import Layout, Store
from tests.config.stage import refused


def test_where_tls_has_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tunnel_settings({}).store is None
    assert tunnel_settings({"tls_layout": Layout.LIBVIRT, "tls_dir": None}).store == Store(Path("/etc/pki"), Layout.LIBVIRT)
    both = {"tls_layout": Layout.LIBVIRT, "tls_dir": "/pki", "tls_password_file": "/secret"}
    assert tunnel_settings(both).store == Store(Path("/pki"), Layout.LIBVIRT, Path("/secret"))
    assert refused(tunnel_settings, {"tls_password_file": "/secret"}) == "--tls-password-file needs --tls-dir"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", f"{tmp_path}")
    assert tunnel_settings({"tls_dir": "/pki"}).store == Store(Path("/pki"))
    (tmp_path / "tls-password").touch()
    assert tunnel_settings({"tls_dir": "/pki"}).store == Store(Path("/pki"), password=tmp_path / "tls-password")
    assert tunnel_settings({}).tls_password_file is None


def given(*group: Option, **values: str) -> dict[str, Any]:
    """What a face has of the options of ``group``, of which these were given."""
    texts = {option: values.get(option.key, option.default) for option in group}
    single = {option.key: None if text is None else option.read(text) for option, text in texts.items() if not option.repeatable}
    return single | {option.key: tuple(map(option.read, values.get(option.key, "").split())) for option in group if option.repeatable}


def test_the_defaults_are_those_of_the_settings() -> None:
    assert tunnel_settings({}) == TunnelSettings()
    assert tunnel_settings(given(options.TLS_DIR, *options.SOCKETS, *options.TERMS)) == TunnelSettings()
    assert migration_settings("web1", given(options.BANDWIDTH, *options.MIGRATION)) == MigrationSettings(vm="web1")


def test_each_value_has_its_setting() -> None:
    group = (options.TLS_DIR, options.TLS_NAME, options.BANDWIDTH, *options.SOCKETS, *options.TERMS)
    values = given(*group, tls_dir="/pki", tls_name="d", socket_owner="0:0", window="1MiB", link_timeout="5s", bandwidth="1M")
    wanted = TunnelSettings(tls_dir="/pki", tls_name="d", socket_owner=Owner(0, 0), window=2**20, link_timeout=5.0, bandwidth=2**20)
    assert tunnel_settings(values) == wanted
    assert tunnel_settings({**values, "vm": "web1", "disk": ("a",)}) == wanted  # what is not the tunnel's is left to others


def test_each_value_of_a_migration_has_its_setting() -> None:
    texts = {"disk": "a b", "allow_mismatch": "cpu", "converge": "auto-converge", "timeout": "2h mirror=1h", "stall_timeout": "none"}
    values = given(options.BANDWIDTH, *options.MIGRATION, **texts)
    assert migration_settings("web1", {**values, "keep_source": True}) == MigrationSettings(
        vm="web1",
        disks=("a", "b"),
        allowed=("cpu",),
        converge=frozenset({Strategy.AUTO_CONVERGE}),
        timeouts=Timeouts(phases={Phase.MIRROR: 3600.0}, total=7200.0, stall=None),
        keep_source=True,
    )


def test_a_switchover_waits_for_a_word_or_for_a_time() -> None:
    values = given(options.BANDWIDTH, *options.MIGRATION)
    assert migration_settings("web1", {**values, "hold": True}).switchover == HOLD
    assert migration_settings("web1", {**values, "switchover": 2e9}).switchover == 2e9
    assert refused(migration_settings, "web1", {**values, "hold": True, "switchover": 2e9}).startswith("--hold waits for a word")


def test_each_value_of_a_far_end_has_its_setting() -> None:
    assert far_settings(given(*options.FAR) | {"through_ssh": False, "no_push": False}) == FarSettings()
    values = given(*options.FAR, far_qmp="/run/q", port_range="10-20", remote_command="sudo nbdtun") | {
        "through_ssh": True,
        "no_push": True,
    }
    assert far_settings(values) == FarSettings(qmp="/run/q", ports=(10, 20), through_ssh=True, remote="sudo nbdtun", push=False)
    assert refused(far_settings, {**values, "remote_command": " "}) == "--remote-command is empty, or has more than one line"


def test_settings_that_cannot_be_are_refused() -> None:
    assert refused(tunnel_settings, {"tls_name": "d"}) == "--tls-name needs --tls-dir"
