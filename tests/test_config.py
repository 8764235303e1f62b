"""Settings cannot be wrong: every mistake is refused where it is made, in one line that names it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.endpoints import quoteStringArgument

from nbdtun.config import (
    VM,
    DestinationSettings,
    Forward,
    MigrateSettings,
    Owner,
    SourceSettings,
    Target,
    TunnelSettings,
    check_name,
    check_socket_path,
    host_of,
)
from nbdtun.config.endpoints import Role, parse
from nbdtun.errors import ConfigError
from nbdtun.migration.settings import MigrationSettings

TLS = TunnelSettings(tls_dir="/etc/pki/nbdtun")
INSECURE = TunnelSettings(insecure=True)
WEB1 = MigrationSettings(vm="web1")
NBD = Forward.parse("nbd=unix:/run/nbdtun/nbd.sock:mode=660")


def refused(make: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Endpoint strings.


@pytest.mark.parametrize(
    ("text", "host", "local"),
    [
        ("tcp:10810", "", False),
        ("tcp:10810:interface=0.0.0.0", "0.0.0.0", False),
        ("tcp:10810:interface=192.0.2.1", "192.0.2.1", False),
        ("tcp:10810:interface=127.0.0.1", "127.0.0.1", True),
        ("tcp:10810:127.0.0.1", "127.0.0.1", True),
        ("tcp:port=10810", "", False),
        (r"tcp:10810:interface=\:\:", "::", False),
        (r"tcp:10810:interface=\:\:1", "::1", True),
        ("tcp:10810:interface=localhost:backlog=5", "localhost", True),
    ],
)
def test_who_can_reach_a_listener(text: str, host: str, local: bool) -> None:
    address = parse(text, Role.LISTEN)
    assert (address.host, address.local, address.path) == (host, local, None)


@pytest.mark.parametrize(
    ("text", "host", "local"),
    [
        ("tcp:dest.example:10810", "dest.example", False),
        ("tcp:127.0.0.1:10810", "127.0.0.1", True),
        ("tcp:127.9.9.9:10810:timeout=5", "127.9.9.9", True),
        ("tcp:localhost:10810", "localhost", True),
        ("tcp:localhost.evil.example:10810", "localhost.evil.example", False),
        (r"tcp:\:\:1:10810", "::1", True),
        (r"tcp:\:\:ffff\:192.0.2.1:10810", "::ffff:192.0.2.1", False),
        ("tcp:host=dest:port=10810", "dest", False),
        ("tcp:10810:host=dest", "dest", False),
        ("tcp:dest:port=10810", "dest", False),
    ],
)
def test_which_host_is_dialled(text: str, host: str, local: bool) -> None:
    address = parse(text, Role.CONNECT)
    assert (address.host, address.local) == (host, local)
    assert host_of(text) == host


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("unix:/run/a.sock", Role.LISTEN),
        ("unix:/run/a.sock", Role.CONNECT),
        ("unix:address=/run/a.sock:mode=660", Role.LISTEN),
        ("unix:path=/run/a.sock", Role.CONNECT),
        (r"unix:/run\/a.sock", Role.CONNECT),
    ],
)
def test_unix_sockets_are_local(text: str, role: Role) -> None:
    address = parse(text, role)
    assert (address.path, address.local, address.host) == ("/run/a.sock", True, None)


@given(st.text(st.characters(exclude_characters="\0=", codec="utf-8"), min_size=1, max_size=25))
def test_quoted_paths_are_read_as_twisted_reads_them(path: str) -> None:
    assert parse(f"unix:{quoteStringArgument(path)}:mode=600", Role.LISTEN).path == path


@pytest.mark.parametrize(
    ("text", "role", "remedy"),
    [
        ("", Role.CONNECT, "tcp:HOST:PORT"),
        ("tcp", Role.LISTEN, "tcp:PORT"),
        ("tcp:", Role.LISTEN, "tcp:PORT"),
        ("tcp:nbd", Role.LISTEN, "tcp:PORT"),
        ("tcp:10810:interfaec=127.0.0.1", Role.LISTEN, "tcp:PORT"),
        ("tcp:70000", Role.LISTEN, "there is no port 70000"),
        ("tcp:-1", Role.LISTEN, "there is no port -1"),
        ("tcp:10810\\", Role.LISTEN, "tcp:PORT"),
        ("tcp:dest", Role.CONNECT, "tcp:HOST:PORT"),
        ("tcp:dest:nbd", Role.CONNECT, "tcp:HOST:PORT"),
        ("tcp:dest:70000", Role.CONNECT, "there is no port 70000"),
        ("tcp:[fd00::1]:10810", Role.CONNECT, "colons escaped"),
        ("dest:10810", Role.CONNECT, "'dest' is no kind of endpoint"),
        ("192.0.2.1:10810", Role.CONNECT, "tcp:HOST:PORT"),
        ("/run/a.sock", Role.CONNECT, "tcp:HOST:PORT"),
        ("unix:/a:mode=rw", Role.LISTEN, "unix:PATH:mode=660"),
        ("unix:/a:moed=660", Role.LISTEN, "unix:PATH:mode=660"),
        ("unix:/a:mode=660", Role.CONNECT, "unix:PATH"),
    ],
)
def test_what_is_no_endpoint_is_told_with_the_form_of_one(text: str, role: Role, remedy: str) -> None:
    told = refused(parse, text, role)
    assert repr(text) in told
    assert remedy in told


@example("tcp:\\", Role.LISTEN)
@example("tcp:\\", Role.CONNECT)
@given(
    st.builds(str.__add__, st.sampled_from(["tcp:", "unix:", ""]), st.text(st.sampled_from("a1:=\\/.-[]٣\0 ") | st.characters())),
    st.sampled_from(Role),
)
def test_nothing_but_config_errors(text: str, role: Role) -> None:
    try:
        parse(text, role)
    except ConfigError as error:
        assert str(error)  # noqa: PT017


def test_kinds_that_a_plugin_brings_count_as_reachable_by_all() -> None:
    assert not parse("systemd:domain=UNIX:index=0", Role.LISTEN).local
    assert not parse("haproxy:tcp:10810:interface=127.0.0.1", Role.LISTEN).local


def test_socket_paths_end_at_107_bytes() -> None:
    assert check_socket_path("x" * 107) == "x" * 107
    assert refused(check_socket_path, "x" * 108) == "x" * 108 + ": 108 bytes; the path of a UNIX socket ends at 107"
    assert "110 bytes" in refused(check_socket_path, "ü" * 55)
    assert "needs a path" in refused(check_socket_path, "")
    assert refused(check_socket_path, "/a\0b") == "'/a\\x00b' is not a path"
    for make in (Forward.parse, Target.parse):
        assert "113 bytes" in refused(make, "nbd=unix:/run/" + "x" * 108)
    assert "113 bytes" in refused(VM.parse, "web1=/run/" + "x" * 108)
    assert "108 bytes" in refused(MigrateSettings, connect="unix:/a", qmp="x" * 108, migration=WEB1)
    assert "108 bytes" in refused(SourceSettings, connect="unix:" + "x" * 108, forwards=(NBD,))


# Names, owners.


@pytest.mark.parametrize("name", ["a", "0", "web1", "A-b_c.d", "x" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "ü", "a=b", "x" * 65])
def test_what_is_no_name(name: str) -> None:
    assert repr(name) in refused(check_name, name)


@pytest.mark.parametrize("make", [Forward.parse, Target.parse, VM.parse])
@pytest.mark.parametrize("text", ["", "nbd", "nbd=", "=unix:/a", "../nbd=unix:/a"])
def test_pairs_that_are_none(make: Any, text: str) -> None:
    refused(make, text)


def test_pairs() -> None:
    assert Forward("nbd", "unix:/run/nbdtun/nbd.sock:mode=660") == NBD
    assert NBD.address.path == "/run/nbdtun/nbd.sock"
    assert Target.parse("nbd=tcp:127.0.0.1:port=10809") == Target("nbd", "tcp:127.0.0.1:port=10809")
    assert VM.parse("web1=/run/qemu/a=b.qmp") == VM("web1", "/run/qemu/a=b.qmp")


def test_owners_by_name_and_number() -> None:
    root, group = pwd.getpwuid(0), grp.getgrgid(os.getgid())
    assert Owner.parse(root.pw_name) == Owner.parse("0") == Owner(0, root.pw_gid)
    assert Owner.parse(f"{root.pw_name}:{group.gr_name}") == Owner.parse(f"0:{group.gr_gid}") == Owner(0, group.gr_gid)
    assert Owner.parse("4000000000:4000000001") == Owner(4000000000, 4000000001)
    assert Owner.parse("4000000000") == Owner(4000000000, -1)


@pytest.mark.parametrize(
    "text", ["", ":", "root:", ":root", "no-such-user", "root:no-such-group", "-1", "4294967295", "0:99999999999", "٣"]
)
def test_owners_that_do_not_exist(text: str) -> None:
    refused(Owner.parse, text)


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
    assert refused(SourceSettings, tunnel=TLS, connect="unix:/a", forwards=(NBD,)) == "unix:/a: names no host to verify; give --tls-name"
    assert refused(TunnelSettings, tls_name="dest") == "--tls-name needs --tls-dir"
    assert "'a b'" in refused(TunnelSettings, tls_dir="/pki", tls_name="a b")
    assert "verified" in refused(SourceSettings, tunnel=TLS, connect="tcp:a b:1", forwards=(NBD,))


# The rest.


def test_the_defaults_are_the_options_defaults() -> None:
    tunnel = TunnelSettings()
    assert (tunnel.window, tunnel.link_timeout, tunnel.resume_window) == (16 * 2**20, 15.0, 300.0)
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
    assert refused(DestinationSettings, listen="unix:/x", targets=twice) == "this daemon has two targets of the name nbd"
    for name in ("control", "sink"):
        taken = refused(DestinationSettings, listen="unix:/x", targets=(Target(name, "unix:/a"),))
        assert taken == f"a target cannot be called {name}: nbdtun has one of that name itself"
    assert "two VMs of the name a" in refused(DestinationSettings, listen="unix:/x", vms=(VM("a", "/a"), VM("a", "/b")))


def test_a_source_listens_once_on_a_socket_and_may_reach_a_target_twice() -> None:
    one, other = Forward("nbd", "unix:/a"), Forward("nbd", "unix:/b")
    assert SourceSettings(connect="unix:/x", forwards=(one, other)).forwards == (one, other)
    assert "listens on unix:/a twice" in refused(SourceSettings, connect="unix:/x", forwards=(one, Forward("ram", "unix:/a")))


def test_a_migrations_vm_is_a_name() -> None:
    assert "'../x' is not a name" in refused(MigrateSettings, connect="unix:/a", qmp="/q", migration=MigrationSettings(vm="../x"))


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        TunnelSettings().window = 3  # type: ignore[misc]


def test_directories_are_seen_from_where_the_command_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = TunnelSettings(tls_dir="pki", run_dir="run")
    monkeypatch.chdir("/")
    assert (settings.tls_dir, settings.run_dir) == (f"{tmp_path}/pki", f"{tmp_path}/run")
    assert TunnelSettings().tls_dir is TunnelSettings().run_dir is None
