from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.protocols import amp

from nbdtun.amp import Refused
from nbdtun.errors import ConfigError, GuestLost, LinkLost, NbdtunError, ProtocolViolation, tree
from nbdtun.migration.check.command import Check
from nbdtun.migration.control.commands import MIGRATION, Abort, Finish, Listen, Ping, Prepare, Query, Room, Settle, Trouble
from nbdtun.migration.control.rows import disks_of, rows_of_disks
from nbdtun.migration.vm.disks import MAX_DISKS, Disk
from nbdtun.versions import Agreed
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.talk import SESSION, Echo, Pair
from tests.tunnel.stage.stranger import box


def machine(letters: int, members: int) -> bytes:
    """A machine's hardware: a text of so many letters, and a list of so many members."""
    return zlib.compress(json.dumps({"machine": ["m" * letters, 1], "usb": ["1"] * members}).encode())


def disk(**changed: object) -> bytes:
    texts = dict.fromkeys(("node", "device", "qdev", "format", "place", "serial", "image", "cache"), "")
    return box(**{**texts, "size": 1 << 63} | changed)


def bitmap(disk: int, name: str = "b", persistent: str = "True") -> bytes:
    return box(disk=disk, name=name, persistent=persistent)


def space(**changed: object) -> bytes:
    return box(**{"system": "1", "place": "/srv", "needed": 0, "free": 1 << 63} | changed)


def finding(**changed: object) -> bytes:
    return box(**{"level": "ok", "check": "c", "what": "w", "remedy": "", "code": "", "name": ""} | changed)


ANSWER = {**Agreed(1).fields(), "target": "t", "findings": [], "qemu": None}


def test_disks_cross() -> None:
    disks = (
        Disk("vda", "", "vda-dev", 1 << 40, "raw", "pci:05.0", "S1", allocated=1 << 30),
        Disk("#block1", "ide0-hd0", "/machine/unattached/device[16]", 512),
    )
    pair = Pair(Echo())
    arguments = {
        **MIGRATION.offer(),
        "session": SESSION,
        "secret": None,
        "vm": "wéb1",
        "hardware": HARDWARE,
        "bitmaps": [],
        "allowed": [{"name": "cpu"}],
    }
    assert pair.ask(Prepare, disks=rows_of_disks(disks), **arguments) == ANSWER
    (got,) = pair.server.got  # type: ignore[attr-defined]
    there = disks_of(got.pop("disks"))
    assert there == disks
    assert [disk.allocated for disk in there] == [1 << 30, 0]
    assert got == arguments


@pytest.mark.parametrize("error", [error for error in tree(NbdtunError) if error not in (ConfigError, GuestLost)])
def test_finish_keeps_every_error_apart(error: type[NbdtunError]) -> None:
    """Above all an unknown outcome: taken for any other error, it would let the guest run at both ends."""
    assert type(Pair(Echo(error("why"))).ask(Finish, session=SESSION, run=True, settle=2000)) is error


def test_as_many_disks_as_are_allowed_fit_into_a_message() -> None:
    disks = (Disk("n" * 150, "d" * 150, "/" + "q" * 200, 1 << 62, "qcow2", "p" * 200, "s" * 100),) * MAX_DISKS
    arguments = {
        **MIGRATION.offer(),
        "session": SESSION,
        "vm": "w" * 255,
        "hardware": HARDWARE,
        "bitmaps": [],
        "allowed": [{"name": "cpu"}],
    }
    assert Pair(Echo()).ask(Prepare, disks=rows_of_disks(disks), **arguments) == ANSWER
    refused = Pair(Echo()).ask(Prepare, disks=rows_of_disks(disks + disks[:1])[:65], **(arguments | {"vm": "w"}))
    assert isinstance(refused, NbdtunError | LinkLost)


#: The bounds of docs/control: for each field, values at them and beyond them.
BOUNDS: dict[bytes, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    b"session": ((b"0f" * 16,), (b"", b"0" * 31, b"0" * 33, b"F" * 32, b"g" * 32, b"0" * 32 + b"\n")),
    b"secret": ((bytes(32),), (b"", bytes(31), bytes(33))),
    b"lowest": ((b"1", b"65535"), (b"0", b"65536")),
    b"highest": ((b"1", b"65535"), (b"0", b"65536")),
    b"version": ((b"1", b"65535"), (b"0", b"65536")),
    b"features": ((b"",), (b"A",)),
    b"vm": ((b"v" * 255,), (b"v" * 256, b"\n", b"\xff")),
    b"hardware": ((machine(1024, 8192),), (b"", b"no JSON", machine(1025, 1), machine(1, 8193), machine(1, 1)[:-1])),
    b"disks": (
        (b"", disk() * MAX_DISKS, disk(allocated=0)),
        (disk() * (MAX_DISKS + 1), disk(size=-1), disk(size=(1 << 63) + 1), disk(allocated=-1), disk(serial="s" * 256)),
    ),
    b"bitmaps": ((bitmap(0) + bitmap(63) + bitmap(0, "c"),), (bitmap(64), bitmap(0) * 2, bitmap(0, "b" * 256), bitmap(0, persistent="1"))),
    b"connections": ((b"1", b"255"), (b"0", b"256")),
    b"allowed": ((box(name="n") * MAX_DISKS,), (box(name="n") * (MAX_DISKS + 1), box(name="n" * 256))),
    b"run": ((b"True", b"False"), (b"1", b"")),
    b"settle": ((b"0", b"600000"), (b"600001", b"-1")),
    b"downtime": ((b"0", b"86400000"), (b"86400001", b"-1")),
    b"target": ((b"t" * 255,), (b"t" * 256,)),
    b"qemu": ((b"q" * 255,), (b"q" * 256,)),
    b"findings": ((b"", finding(what="w" * 380)), (finding(what="w" * 381), finding(remedy="r" * 141), finding(name="n" * 65))),
    b"spaces": (
        (b"", space(system="s" * 64) * MAX_DISKS),
        (space() * (MAX_DISKS + 1), space(free=-1), space(needed=(1 << 63) + 1), space(system="s" * 65), space(place="p" * 256)),
    ),
    b"memory": ((b"0", b"%d" % (1 << 63)), (b"%d" % ((1 << 63) + 1), b"-1")),
    b"time": ((b"0", b"%d" % (1 << 63)), (b"%d" % ((1 << 63) + 1),)),
    b"state": ((b"s" * 255,), (b"s" * 256,)),
    b"machine": ((b"m" * 255,), (b"m" * 256,)),
    b"outcome": ((b"arrived", b"lost", b"gone", b"fresh"), (b"", b"perhaps")),
    b"code": ((b"c" * 255,), (b"c" * 256,)),
    b"reason": ((b"r" * 4000,), (b"r" * 4001,)),
}
COMMANDS: tuple[Any, ...] = (Prepare, Listen, Finish, Abort, Query, Settle, Trouble, Room, Ping, Check)


def bounds(inside: bool) -> Iterator[tuple[Any, bytes, bytes]]:
    """Each command, field and value on this side of its bounds."""
    for command in COMMANDS:
        for name in dict.fromkeys(name for name, _ in (*command.arguments, *command.response)):
            yield from ((command, name, value) for value in BOUNDS[name][0 if inside else 1])


def parsed(command: Any, field: bytes, value: bytes) -> list[Any]:
    """The question and the answer, with this ``value`` where they have the field, and others at their bounds."""
    both = ((command.arguments, command.parseArguments), (command.response, command.parseResponse))
    boxes = [({name: BOUNDS[name][0][0] for name, _ in fields}, parse) for fields, parse in both]
    return [parse(amp.AmpBox(each | {field: value}), None) for each, parse in boxes if field in each]


@pytest.mark.parametrize(("command", "name", "value"), [*bounds(True)])
def test_within_the_bounds(command: Any, name: bytes, value: bytes) -> None:
    assert all(parsed(command, name, value))


@pytest.mark.parametrize(("command", "name", "value"), [*bounds(False)])
def test_beyond_the_bounds(command: Any, name: bytes, value: bytes) -> None:
    with pytest.raises((Refused, ProtocolViolation)):
        parsed(command, name, value)
