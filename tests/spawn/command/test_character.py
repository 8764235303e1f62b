"""Character devices in one word."""

from __future__ import annotations

import pytest

from nbdtun.errors import ConfigError
from nbdtun.spawn.command.character import Character


@pytest.mark.parametrize(
    ("text", "backend", "key", "value"),
    [
        ("unix:/a,,b,server=on,wait=off", "socket", "path", "/a,b"),
        ("unix:/a,server,nowait", "socket", "wait", "off"),
        ("tcp:localhost:4444,server", "socket", "address", "localhost:4444"),
        ("telnet::4444,server", "socket", "server", "on"),
        ("file:/var/log/a,b=c", "file", "path", "/var/log/a,b=c"),
        ("mon:stdio", "stdio", "path", ""),
        ("/dev/ttyS0", "serial", "path", "/dev/ttyS0"),
        ("chardev:c0", "chardev", "id", "c0"),
        ("vc:80Cx24C", "vc", "path", ""),
        ("none", "none", "path", ""),
        ("udp:host:1@:2", "udp", "address", "host:1@:2"),
    ],
)
def test_each_is_read_and_written(text: str, backend: str, key: str, value: str) -> None:
    found = Character.parse(text)
    assert (found.backend, found.params.get(key), str(found)) == (backend, value, text)


def test_its_path_is_changed() -> None:
    found = Character.parse("mon:unix:/a,server")
    assert str(found.with_(found.params.set("path", "/b,c"))) == "mon:unix:/b,,c,server"


@pytest.mark.parametrize(
    ("text", "address"),
    [("tcp:localhost:44,server", ("localhost", 44)), ("tcp::44", ("", 44)), ("tcp:[::1]:44", ("::1", 44)), ("tcp:x:http", None)],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    assert Character.parse(text).address == address


@pytest.mark.parametrize("text", ["", "x", "con:", "COM1", "mon:"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not known to nbdtun"):
        Character.parse(text)
