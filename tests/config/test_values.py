"""The small values of the options: names, pairs and owners."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

import pytest

from nbdtun.config import (
    VM,
    Forward,
    Owner,
    Target,
    VMPattern,
)
from nbdtun.config.values import parse_ports, parse_vm
from tests.config.stage import refused


@pytest.mark.parametrize("make", [Forward.parse, Target.parse, VM.parse])
@pytest.mark.parametrize("text", ["", "nbd", "nbd=", "=unix:/a", "../nbd=unix:/a"])
def test_pairs_that_are_none(make: Any, text: str) -> None:
    refused(make, text)


def test_pairs() -> None:
    forward = Forward.parse("nbd=unix:/run/nbdtun/nbd.sock:mode=660")
    assert forward == Forward("nbd", "unix:/run/nbdtun/nbd.sock:mode=660")
    assert forward.address.path == "/run/nbdtun/nbd.sock"
    assert Target.parse("nbd=tcp:127.0.0.1:port=10809") == Target("nbd", "tcp:127.0.0.1:port=10809")
    assert VM.parse("web1=/run/qemu/a=b.qmp") == VM("web1", "/run/qemu/a=b.qmp")


@pytest.mark.parametrize(
    ("text", "vm"),
    [
        ("web1=/run/qemu/web1.qmp", VM("web1", "/run/qemu/web1.qmp")),
        ("web1=web1.qmp", VM("web1", "web1.qmp")),
        ("*=/run/qemu/{vm}-incoming.qmp", VMPattern("*", "/run/qemu/{vm}-incoming.qmp")),
        ("web[0-9]?=/run/{vm}/{vm}.qmp", VMPattern("web[0-9]?", "/run/{vm}/{vm}.qmp")),
        ("web1=/run/qemu/{vm}.qmp", VMPattern("web1", "/run/qemu/{vm}.qmp")),
    ],
)
def test_a_vm_or_a_pattern_for_vms(text: str, vm: VM | VMPattern) -> None:
    assert parse_vm(text) == vm


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*=/run/qemu/incoming.qmp", "*=/run/qemu/incoming.qmp: the path has no {vm}, which stands for the VM's name"),
        ("*={vm}.qmp", "*={vm}.qmp: a path with {vm} must be absolute"),
        ("../*=/run/{vm}.qmp", "'../*' is not a pattern for names; use the characters of names, and *, ? and [...]"),
        ("*", "'*' does not have the form NAME=PATH, such as web1=/run/qemu/web1-incoming.qmp"),
        ("=/run/{vm}", "'' is not a pattern for names; use the characters of names, and *, ? and [...]"),
    ],
)
def test_patterns_that_are_none(text: str, why: str) -> None:
    assert refused(parse_vm, text) == why


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


@pytest.mark.parametrize(("make", "start"), [(Forward.parse, "nbd=unix:/"), (Target.parse, "nbd=unix:/"), (VM.parse, "web1=/")])
def test_pairs_whose_path_is_too_long(make: Any, start: str) -> None:
    make(start + "x" * 106)
    assert "108 bytes" in refused(make, start + "x" * 107)


@pytest.mark.parametrize(("text", "ports"), [("49152-49215", (49152, 49215)), ("1", (1, 1)), (" 7-7 ", (7, 7))])
def test_a_range_of_ports(text: str, ports: tuple[int, int]) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize("text", ["", "a-b", "1-", "-1", "0", "0-1", "2-1", "1-65536", "1-2-3", "\u0661"])
def test_none(text: str) -> None:
    assert "range of ports" in refused(parse_ports, text) or "form FIRST-LAST" in refused(parse_ports, text)
