"""Endpoint strings: read as Twisted reads them, and refused in one line that names the form of one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.endpoints import quoteStringArgument

from nbdtun.config.endpoints import Role, check_destination, check_exposure, check_socket_path, host_of, parse
from nbdtun.errors import ConfigError
from tests.config.stage import refused


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
        ("/run/a.sock", Role.CONNECT),
        ("/run/a.sock:mode=660", Role.LISTEN),
    ],
)
def test_unix_sockets_are_local(text: str, role: Role) -> None:
    address = parse(text, role)
    assert (address.path, address.local, address.host) == ("/run/a.sock", True, None)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("dest", "dest", 10810),
        ("dest.example", "dest.example", 10810),
        ("dest:5", "dest", 5),
        ("tcp:dest", "dest", 10810),
        ("192.0.2.1", "192.0.2.1", 10810),
        ("192.0.2.1:5", "192.0.2.1", 5),
        ("fd00::1", "fd00::1", 10810),
        ("[fd00::1]", "fd00::1", 10810),
        ("[fd00::1]:5", "fd00::1", 5),
        ("tcp:[fd00::1]", "fd00::1", 10810),
        ("tcp:[fd00::1]:5", "fd00::1", 5),
        ("tcp:[fd00::1]:5:timeout=3", "fd00::1", 5),
        ("[fe80::1%eth0]:5", "fe80::1%eth0", 5),
        ("fe80::1%eth0.5", "fe80::1%eth0.5", 10810),
        (r"tcp:fe80\:\:1%eth0:5", "fe80::1%eth0", 5),
    ],
)
def test_addresses_to_connect_to(text: str, host: str, port: int) -> None:
    address = parse(text, Role.CONNECT)
    assert (address.text, address.kind, address.host, address.port) == (text, "tcp", host, port)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("5", "", 5),
        (":5", "", 5),
        ("*:5", "", 5),
        ("tcp:5", "", 5),
        ("tcp::5", "", 5),
        ("0.0.0.0:5", "0.0.0.0", 5),
        ("192.0.2.1", "192.0.2.1", 10810),
        ("tcp:192.0.2.1:5", "192.0.2.1", 5),
        ("[::]:5", "::", 5),
        ("::1", "::1", 10810),
        ("localhost:5", "localhost", 5),
    ],
)
def test_addresses_to_listen_on(text: str, host: str, port: int) -> None:
    address = parse(text, Role.LISTEN)
    assert (address.text, address.kind, address.host, address.port) == (text, "tcp", host, port)


_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9.-]{0,20}", fullmatch=True).filter(lambda name: "." in name)
_ADDRESSES = st.ip_addresses().map(str)


@given(_NAMES | _ADDRESSES, st.integers(1, 65535))
def test_an_address_and_its_endpoint_string_in_full_are_the_same(host: str, port: int) -> None:
    short = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    escaped = f"tcp:{quoteStringArgument(host)}:{port}"
    for text in (short, f"tcp:{short}", escaped):
        address = parse(text, Role.CONNECT)
        assert (address.endpoint, address.host, address.port) == (escaped, host, port)
        assert parse(address.endpoint, Role.CONNECT).endpoint == address.endpoint


@given(_ADDRESSES, st.integers(1, 65535))
def test_addresses_of_listeners_survive_as_well(host: str, port: int) -> None:
    address = parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", Role.LISTEN)
    assert (address.host, address.port) == (host, port)
    again = parse(address.endpoint, Role.LISTEN)
    assert (again.host, again.port, again.endpoint) == (host, port, address.endpoint)


@given(st.ip_addresses(v=6).map(str), st.integers(10000, 65535))
def test_an_address_that_lacks_its_brackets_is_suggested_with_them(host: str, port: int) -> None:
    try:
        assert parse(f"{host}:{port}", Role.CONNECT).port == 10810  # the port reads as a part of an address that is valid
    except ConfigError as error:
        assert error.remedy == f"did you mean [{host}]:{port}?"  # noqa: PT017
        assert parse(error.remedy.removeprefix("did you mean ").rstrip("?"), Role.CONNECT).port == port  # noqa: PT017


@given(st.text(st.characters(exclude_characters="\0=", codec="utf-8"), min_size=1, max_size=25))
def test_quoted_paths_are_read_as_twisted_reads_them(path: str) -> None:
    assert parse(f"unix:{quoteStringArgument(path)}:mode=600", Role.LISTEN).path == path


@pytest.mark.parametrize(
    ("text", "role", "remedy"),
    [
        ("", Role.CONNECT, "HOST or HOST:PORT"),
        ("tcp", Role.LISTEN, "PORT or ADDRESS:PORT"),
        ("tcp:", Role.LISTEN, "PORT or ADDRESS:PORT"),
        ("tcp:nbd", Role.LISTEN, "PORT or ADDRESS:PORT"),
        ("tcp:10810:interfaec=127.0.0.1", Role.LISTEN, "PORT or ADDRESS:PORT"),
        ("tcp:70000", Role.LISTEN, "there is no port 70000"),
        ("tcp:-1", Role.LISTEN, "there is no port -1"),
        ("tcp:10810\\", Role.LISTEN, "PORT or ADDRESS:PORT"),
        ("tcp:10810", Role.CONNECT, "HOST or HOST:PORT"),
        ("10810", Role.CONNECT, "HOST or HOST:PORT"),
        (":10810", Role.CONNECT, "HOST or HOST:PORT"),
        ("*:10810", Role.CONNECT, "HOST or HOST:PORT"),
        ("tcp:dest:nbd", Role.CONNECT, "HOST or HOST:PORT"),
        ("tcp:dest:70000", Role.CONNECT, "there is no port 70000"),
        ("dest:0", Role.CONNECT, "there is no port 0"),
        ("tcp:fd00::1:10810", Role.CONNECT, "did you mean [fd00::1]:10810?"),
        ("fd00::1:10810", Role.LISTEN, "did you mean [fd00::1]:10810?"),
        ("tpc:dest:10810", Role.CONNECT, "did you mean tcp:dest:10810?"),
        ("unxi:/run/a.sock", Role.LISTEN, "did you mean unix:/run/a.sock?"),
        ("[dest]:10810", Role.CONNECT, "HOST or HOST:PORT"),
        ("[::1]:70000", Role.CONNECT, "there is no port 70000"),
        ("dest:nbd", Role.CONNECT, "HOST or HOST:PORT"),
        ("tcp", Role.CONNECT, "HOST or HOST:PORT"),
        ("dest", Role.LISTEN, "PORT or ADDRESS:PORT"),
        ("unix:/a:mode=rw", Role.LISTEN, "unix:PATH:mode=660"),
        ("unix:/a:moed=660", Role.LISTEN, "unix:PATH:mode=660"),
        ("unix:/a:mode=660", Role.CONNECT, "unix:PATH"),
    ],
)
def test_what_is_no_endpoint_is_told_with_the_form_of_one(text: str, role: Role, remedy: str) -> None:
    told = refused(parse, text, role)
    assert repr(text) in told
    assert remedy in told


def test_a_destination_is_an_endpoint_or_a_host_by_ssh() -> None:
    for text in ("dest", "dest:10810", "unix:/run/a.sock", "ssh://root@dest"):
        assert check_destination(text) == text
    for text in ("https://dest", "qemu+ssh://dest/system", "ssh:dest"):
        assert refused(check_destination, text) == (
            f"{text!r} is not an endpoint to connect to; use the form HOST, HOST:PORT or ssh://HOST"
        )
    assert "leave the path out" in refused(check_destination, "ssh://dest/system")
    assert "there is no port 0" in refused(check_destination, "dest:0")


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
    assert refused(check_socket_path, "x" * 108) == "x" * 108 + ": too long for the path of a UNIX socket: 108 bytes, at most 107"
    assert "110 bytes" in refused(check_socket_path, "ü" * 55)
    assert "needs a path" in refused(check_socket_path, "")
    assert refused(check_socket_path, "/a\0b") == "'/a\\x00b' is not a path"


# What may be reached without TLS.


@pytest.mark.parametrize("role", Role)
def test_without_tls_nothing_but_this_machine_is_exposed(role: Role) -> None:
    endpoint = {Role.LISTEN: "tcp:10810", Role.CONNECT: "tcp:dest:10810"}[role]
    told = refused(check_exposure, endpoint, role, tls=False, insecure=False)
    assert told.startswith(f"{endpoint}: without --tls-dir, nbdtun will {role.value} loopback and UNIX sockets only")
    assert "--insecure" in told
    check_exposure(endpoint, role, tls=True, insecure=False)
    check_exposure(endpoint, role, tls=False, insecure=True)
    check_exposure("unix:/run/a.sock", role, tls=False, insecure=False)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("0", "tcp:7"),
        ("127.0.0.1:0", "tcp:7:interface=127.0.0.1"),
        ("[::1]:0", r"tcp:7:interface=\:\:1"),
        ("tcp:0:backlog=5", "tcp:7:backlog=5"),
        ("unix:/run/a", "unix:/run/a"),
    ],
)
def test_another_port_of_the_same_listener(text: str, there: str) -> None:
    assert parse(text, Role.LISTEN).at_port(7) == there
