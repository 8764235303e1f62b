"""What a host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.spawn.far.host import group_id, has_interface, is_listened, is_taken, missing, standing, user_id
from nbdtun.spawn.values import Network

TCP = """  sl  local_address rem_address   st
   0: 0100007F:1F90 00000000:0000 0A
   1: 0100007F:1F91 00000000:0000 01
"""


def test_interfaces(tmp_path: Path) -> None:
    (tmp_path / "tap0").mkdir()
    (tmp_path / "tap0/tun_flags").touch()
    (tmp_path / "br0/bridge").mkdir(parents=True)
    assert has_interface("tap0", Network.TAP, tmp_path)
    assert has_interface("br0", Network.BRIDGE, tmp_path)
    assert not has_interface("br0", Network.TAP, tmp_path)
    assert not has_interface("../br0", Network.BRIDGE, tmp_path)


def test_listening_sockets(tmp_path: Path) -> None:
    listed = tmp_path / "unix"
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    rows = [
        f"1: 2 0 00010000 1 01 7 {tmp_path}/a",
        f"1: 2 0 00000000 1 03 7 {tmp_path}/b",
        "1: 2 0 00010000 1 01 7 c",
        "1: 2 0 00010000 1 01 8",
    ]
    listed.write_text("header\n" + "\n".join(rows))
    assert [is_listened(f"{tmp_path}/{name}", listed) for name in ("a", "b", "c", "d")] == [True, False, True, False]


def test_ports(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(TCP)
    (tmp_path / "udp6").write_text(TCP.replace(" 0A", " 07"))
    assert [is_taken(port, proc=tmp_path) for port in (8080, 8081)] == [True, False]
    assert is_taken(8080, udp=True, proc=tmp_path)


def test_directories(tmp_path: Path) -> None:
    path = str(tmp_path / "a/b/c")
    assert missing(path) == [str(tmp_path / "a"), str(tmp_path / "a/b")]
    assert standing(path) == str(tmp_path)


@pytest.mark.parametrize(("name", "number"), [("root", 0), ("0", 0), ("4000000", 4000000), ("no-such-name", None)])
def test_users_and_groups(name: str, number: int | None) -> None:
    assert user_id(name) == group_id(name) == number
