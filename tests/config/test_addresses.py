"""Addresses as operators write them; which of them are endpoints is tested with the endpoints."""

from __future__ import annotations

import pytest

from nbdtun.config.addresses import PORT, dialled, is_address, listened


def kinds(text: str) -> bool:
    return text in ("tcp", "unix", "tor")


def test_a_host_becomes_a_string_with_the_default_port() -> None:
    assert dialled("dest", kinds) == f"tcp:dest:{PORT}"
    assert dialled("fd00::1", kinds) == rf"tcp:fd00\:\:1:{PORT}"
    assert listened("::1", kinds) == rf"tcp:{PORT}:interface=\:\:1"


def test_options_stay_behind_the_port() -> None:
    assert dialled("tcp:[fd00::1]:5:timeout=3", kinds) == r"tcp:fd00\:\:1:5:timeout=3"
    assert listened("5:backlog=7", kinds) == "tcp:5:backlog=7"


@pytest.mark.parametrize("text", ["tor:80", "unix:5", "tcp:host=dest:port=5", "tcp:5:host=dest", "tcp:dest:5:30", r"tcp:fd00\:\:1:5", ""])
def test_other_strings_are_left_to_twisted(text: str) -> None:
    assert dialled(text, kinds) is None


@pytest.mark.parametrize("text", ["tcp:5:127.0.0.1", "tcp:5:interface=127.0.0.1", "tcp:port=5", "systemd:domain=INET6:index=0", "dest"])
def test_so_are_strings_to_listen_on(text: str) -> None:
    assert listened(text, kinds) is None


def test_a_host_may_be_named_like_a_kind_behind_tcp() -> None:
    assert dialled("tcp:unix:5", kinds) == "tcp:unix:5"


@pytest.mark.parametrize(
    ("text", "known"),
    [("192.0.2.1", True), ("fe80::1%eth0", True), ("fe80::1%a b", False), ("dest", False), ("fd00::/8", False), ("", False)],
)
def test_addresses_and_names(text: str, known: bool) -> None:
    assert is_address(text) is known
