"""The arguments of calls."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.arguments import Migrating, Opening, migrating, opening
from nbdtun.libvirt.rpc.xdr import opaque, string, uint
from tests.libvirt.rpc import stage


def test_an_opening() -> None:
    assert opening(stage.opening("qemu:///system", 1).body) == Opening("qemu:///system", 1)
    assert opening(stage.opening(None).body) == Opening(None, 0)


def test_a_migration() -> None:
    body = stage.prepare_body(("bandwidth", 7), xml="<domain/>", crumb=b"<qemu-migration/>\0", flags=3)
    parameters = (("destination_xml", "<domain/>"), ("migrate_uri", stage.MEMORY), ("disks_uri", stage.DISKS), ("bandwidth", 7))
    assert migrating(body, finish=False) == Migrating(parameters, "<qemu-migration/>", 3)
    assert migrating(body + uint(1), finish=True) == Migrating(parameters, "<qemu-migration/>", 3)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (1, struct.pack("!i", -1), -1),
        (2, struct.pack("!I", 2**32 - 1), 2**32 - 1),
        (3, struct.pack("!q", -(2**40)), -(2**40)),
        (4, struct.pack("!Q", 2**63), 2**63),
        (5, struct.pack("!d", 0.25), 0.25),
        (6, struct.pack("!i", 1), 1),
        (7, string("zstd"), "zstd"),
    ],
)
def test_a_value_of_each_type(kind: int, data: bytes, value: object) -> None:
    body = uint(1) + string("x") + uint(kind) + data + uint(0) + uint(0)
    assert migrating(body, finish=False).parameters == (("x", value),)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (uint(65), "65 parameters of a migration; at most 64 are possible"),
        (uint(1) + string("x") + uint(8) + bytes(8), "a parameter of a migration of unknown type 8"),
        (uint(1) + string("x" * 80), "80 bytes in a libvirt call, where at most 79"),
        (uint(0) + opaque(b"<qemu-migration/>") + uint(0), "a migration's cookie without a zero byte at its end"),
        (uint(0) + opaque(b"<a/>\0<b/>\0") + uint(0), "or with another one"),
        (uint(0) + opaque(b"\xff\0") + uint(0), "a migration's cookie that is not UTF-8"),
        (stage.prepare_body() + bytes(4), "4 bytes too many"),
    ],
)
def test_what_is_malformed(body: bytes, text: str) -> None:
    with pytest.raises(ProtocolViolation, match=text):
        migrating(body, finish=False)


@given(st.binary())
def test_any_bytes_are_arguments_or_a_violation(data: bytes) -> None:
    for parse in (opening, lambda body: migrating(body, finish=False), lambda body: migrating(body, finish=True)):
        with suppress(ProtocolViolation):
            parse(data)
