"""
A guest that mounts a 9p file system, played by hand: the lab's kernel has no driver for it.

QEMU's ``-qtest`` socket reads and writes the machine's memory and ports, also of one that is paused. The device is a legacy virtio device
(virtio 0.9.5, 2.3 and appendix A): a BAR of ports, and a queue with its three parts in one piece of memory.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Final

#: Where the device is, and what it is told: ports, and places in the guest's memory.
SLOT: Final = 0x15
PORTS, QUEUE, ASKED, ANSWERED = 0xC000, 0x100000, 0x110000, 0x112000
_FEATURES, _PLACE, _SIZE, _NOTIFY, _STATUS = 0x04, 0x08, 0x0C, 0x10, 0x12
_NEXT, _WRITABLE = 1, 2


class Mounting:
    """Speaks to the device of a QEMU that has its ``-qtest`` socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(f"{path}")
        self._told = self._socket.makefile("r")
        self._asked = 0
        self._begin()

    def mount(self) -> None:
        """What Linux does first: agree on the version, and attach."""
        self._ask(struct.pack("<BHIH8s", 100, 0xFFFF, 8192, 8, b"9P2000.L"), 101)
        self._ask(struct.pack("<BHIIHHI", 104, 1, 0, 0xFFFFFFFF, 0, 0, 0), 105)

    def close(self) -> None:
        self._told.close()
        self._socket.close()

    def _begin(self) -> None:
        where = 0x80000000 | SLOT << 11
        for register, value in ((0x10, PORTS), (0x04, 0x7)):  # the BAR; its ports and memory are on
            self._do(f"outl 0xcf8 {where | register:#x}")
            self._do(f"outl 0xcfc {value:#x}")
        self._do(f"outb {PORTS + _STATUS:#x} 0x3")
        self._do(f"outl {PORTS + _FEATURES:#x} 0x0")
        self._size = int(self._do(f"inw {PORTS + _SIZE:#x}"), 16)
        self._do(f"outl {PORTS + _PLACE:#x} {QUEUE >> 12:#x}")
        self._do(f"outb {PORTS + _STATUS:#x} 0x7")

    def _ask(self, message: bytes, answer: int) -> None:
        """Send one message, and wait for an answer of that type."""
        message = struct.pack("<I", 4 + len(message)) + message
        self._write(ASKED, message)
        self._write(QUEUE, struct.pack("<QIHH", ASKED, len(message), _NEXT, 1) + struct.pack("<QIHH", ANSWERED, 8192, _WRITABLE, 0))
        offered = QUEUE + 16 * self._size
        self._write(offered + 4 + 2 * (self._asked % self._size), bytes(2))  # the chain that begins with the first descriptor
        self._asked += 1
        self._write(offered, struct.pack("<HH", 0, self._asked))
        self._do(f"outw {PORTS + _NOTIFY:#x} 0x0")
        used = QUEUE + (16 * self._size + 6 + 2 * self._size + 4095) // 4096 * 4096
        end = time.monotonic() + 20
        while struct.unpack("<H", self._read(used + 2, 2))[0] != self._asked:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert self._read(ANSWERED + 4, 1)[0] == answer

    def _write(self, address: int, data: bytes) -> None:
        self._do(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def _read(self, address: int, size: int) -> bytes:
        return bytes.fromhex(self._do(f"read {address:#x} {size:#x}")[2:])

    def _do(self, command: str) -> str:
        """One command; what it answers behind OK."""
        self._socket.sendall(f"{command}\n".encode())
        while not (line := self._told.readline()).startswith("OK"):
            assert line.startswith("IRQ"), line
        return line[2:].strip()
