"""The table of blocks, as QEMU 7.2 and 10.0 print it, and as a later one might."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.migration.vm.hardware.blocks import MAX_BLOCKS, parse
from nbdtun.migration.vm.hardware.model import Block

#: Of 10.0, with a name that is longer than its column; 7.2 has the same up to the column ``Total``.
TABLE = """\
              Block Name    PSize              Offset               Used              Total                HVA  RO
                      m1    2 MiB  0x0000000000000000 0x0000000008000000 0x0000000008000000 0x00007f4a43e00000  rw
                  pc.ram    4 KiB  0x0000000008000000 0x0000000008000000 0x0000000008000000 0x00007f4a33e00000  rw
    /rom@etc/acpi/tables    4 KiB  0x00000000100c0000 0x0000000000020000 0x0000000000200000 0x00007f4a91200000  ro
0000:00:05.0/virtio-net-pci.rom    4 KiB  0x0000000010080000 0x0000000000040000 0x0000000000040000 0x00007f4a91a00000  ro
"""
OLDER = "\n".join(line[: line.index("Total") + 5] if "Total" in line else line.partition(" 0x00007f")[0] for line in TABLE.splitlines())
BLOCKS = (
    Block("/rom@etc/acpi/tables", 0x20000, 0x200000),
    Block("0000:00:05.0/virtio-net-pci.rom", 0x40000, 0x40000),
    Block("m1", 1 << 27, 1 << 27),
    Block("pc.ram", 1 << 27, 1 << 27),
)
ROW = "pc.ram    4 KiB  0x0000000008000000 0x0000000008000000 0x0000000008000000"


@pytest.mark.parametrize("table", [TABLE, OLDER, TABLE.replace("\n", "\r\n")], ids=["10.0", "7.2", "with CR"])
def test_the_table_of_both_releases(table: str) -> None:
    assert parse(table) == BLOCKS


def test_the_order_is_not_qemus() -> None:
    """It goes by size and by when a block was made, which differs between two QEMUs."""
    assert parse("\n".join(reversed(TABLE.splitlines()))) == BLOCKS


@pytest.mark.parametrize(
    "row",
    [
        f"{ROW} and what a later version tells",
        ROW.replace("4 KiB", "1 GiB"),
        ROW.replace("4 KiB", "4096 B"),
        ROW.replace("0x0000000008000000", "0x8000000"),
        ROW.replace("    ", " "),
    ],
)
def test_a_row_in_another_dress(row: str) -> None:
    assert parse(f"Something new\n{row}\n") == (Block("pc.ram", 1 << 27, 1 << 27),)


@pytest.mark.parametrize(
    "row",
    [
        "",
        "KiB 0x",
        ROW.rpartition(" ")[0],  # without a total
        ROW.replace("    4 KiB", ""),
        ROW.replace("4 KiB", "4 kibibytes"),
        ROW.replace("0x", ""),
        f"{ROW.rpartition(' ')[0]} 0x10000000000000000",  # more than 64 bits
        "pc.ram    4 KiB  0x0000000008000000 0x10000000000000000 0x0000000008000000",
        ROW.replace("pc.ram", "pc ram"),  # there is no such name
        "no memory is mapped",
    ],
)
def test_what_is_no_row_is_passed_over(row: str) -> None:
    """So that a table of another form is as none at all, which is not compared: no failure comes of it."""
    assert parse(row) == ()
    assert parse(f"{TABLE}{row}\n") == BLOCKS


def test_there_is_an_end_to_rows() -> None:
    assert len(parse("\n".join(ROW.replace("pc.ram", f"m{number}") for number in range(MAX_BLOCKS + 9)))) == MAX_BLOCKS


@given(st.text() | st.text("0x12 KiB\n\t."))
def test_no_text_is_too_strange(text: str) -> None:
    for block in parse(text):
        assert block.name in text
        assert 0 <= block.used < 1 << 64
