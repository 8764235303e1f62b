"""A machine's hardware crosses, whatever its size, and nothing else is taken for one."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from nbdtun.errors import NotMigratable
from nbdtun.migration.vm.hardware.model import Block, Device, Hardware
from nbdtun.migration.vm.hardware.wire import MAX_UNPACKED, HardwareArgument
from nbdtun.migration.vm.machine import Machine
from tests.migration.stage.machines import PACKED

ARGUMENT = HardwareArgument()
MACHINE = Machine("pc-q35-7.2-machine", 1 << 40)


def large() -> Hardware:
    """64 disks behind bridges, each with an id and a serial of its own, 255 processors with 400 features."""
    facts = {f"feature_{n}": bool(n % 2) for n in range(40)}
    devices = [
        Device(
            f"board/q35-pcihost~0/pci:{n // 8:02x}.{n % 8}/pci:00.0{end}",
            f"virtio-blk{end}",
            f"disk-{n}",
            facts | {"serial": f"{n * 7919:x}"},
        )
        for n in range(64)
        for end in ("", "/virtio")
    ]
    processors = tuple(f"socket {n // 8} core {n % 8} thread 1" for n in range(255))
    return Hardware(MACHINE, cpu={f"cpu-{n}": bool(n % 3) for n in range(400)}, processors=processors, devices=tuple(devices))


def test_a_large_machine_crosses() -> None:
    packed = ARGUMENT.toString(large())
    assert len(packed) < 20_000
    assert ARGUMENT.fromString(packed) == large()


def test_one_that_is_too_large_is_refused_by_its_own_end() -> None:
    devices = tuple(Device(f"{n * 7919**7:x}", f"{n**9:x}") for n in range(8000))
    with pytest.raises(NotMigratable, match="the machine has 8000 devices, too many to compare"):
        ARGUMENT.toString(Hardware(MACHINE, devices=devices))


def refused(data: bytes) -> bool:
    with pytest.raises(amp.RemoteAmpError, match="not a machine's hardware"):
        ARGUMENT.fromString(data)
    return True


def test_a_later_release_may_tell_more_and_another_implementation_less() -> None:
    whole = json.loads(zlib.decompress(ARGUMENT.toString(large())))
    more = whole | {"ghosts": {"how": ["many"]}, **{name: [*whole[name], 7] for name in ("machine",)}}
    more |= {name: [[*row, "more"] for row in whole[name]] for name in ("devices", "blocks")}
    assert ARGUMENT.fromString(zlib.compress(json.dumps(more).encode())) == large()
    assert ARGUMENT.fromString(zlib.compress(b'{"machine": ["", 5]}')) == Hardware(Machine("", 5))


def changed(**parts: Any) -> bytes:
    return zlib.compress(json.dumps(json.loads(zlib.decompress(PACKED)) | parts).encode())


@pytest.mark.parametrize(
    "parts",
    [
        {"machine": ["q35"]},
        {"machine": ["q35", -1]},
        {"machine": ["q35", 1 << 64]},
        {"version": "\x1b[2J"},
        {"cpu": {"a": 1.5}},
        {"cpu": []},
        {"cpu": {"a": None}},
        {"processors": "core"},
        {"devices": [["a", "b", "c"]]},
        {"devices": [7]},
        {"devices": [["a" * 2000, "b", "c", {}]]},
        {"devices": {}},
        {"blocks": [["a", True, 1]]},
        {"usb": ["a"] * 9000},
    ],
)
def test_nonsense(parts: dict[str, Any]) -> None:
    assert refused(changed(**parts))


def test_what_is_cut_or_never_ends() -> None:
    assert refused(PACKED[:-5])
    assert refused(zlib.compress(b" " * (MAX_UNPACKED + 1)))
    assert refused(zlib.compress(b"[" * 100_000))


@given(st.binary(max_size=200))
def test_something_else(data: bytes) -> None:
    assert refused(data)


@given(st.lists(st.builds(Block, st.text("abc:/@."), st.integers(0, 1 << 63), st.integers(0, 1 << 63))))
def test_blocks_cross(blocks: list[Block]) -> None:
    hardware = Hardware(MACHINE, blocks=tuple(blocks))
    assert ARGUMENT.fromString(ARGUMENT.toString(hardware)) == hardware
