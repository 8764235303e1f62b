"""One machine's hardware on its way to the other end: JSON, compressed, with all bounds checked before it is used."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from twisted.protocols import amp

from nbdtun.amp import Refused
from nbdtun.errors import NotMigratable
from nbdtun.migration.vm.hardware.model import Block, Device, Hardware, Scalar
from nbdtun.migration.vm.machine import Machine

MAX_PACKED = 65535
MAX_UNPACKED = 4 << 20
MAX_ROWS = 8192
MAX_TEXT = 1024


class HardwareArgument(amp.Argument):
    """A :class:`~nbdtun.migration.vm.hardware.model.Hardware`. A later version may tell more: other names, and more at the end of a row."""

    def toString(self, hardware: Hardware) -> bytes:
        """Pack it."""
        packed = zlib.compress(json.dumps(_plain(hardware), separators=(",", ":")).encode(), 9)
        if len(packed) > MAX_PACKED:
            raise NotMigratable(f"the machine has {len(hardware.devices)} devices, too many to compare")
        return packed

    def fromString(self, data: bytes) -> Hardware:
        """Unpack what a peer has sent."""
        try:
            return _hardware(json.loads(_expanded(data)))
        except (zlib.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as nonsense:
            raise Refused("not a machine's hardware") from nonsense


def _expanded(data: bytes) -> bytes:
    expand = zlib.decompressobj()
    text = expand.decompress(data, MAX_UNPACKED)
    if not expand.eof:
        raise ValueError("too long, or truncated")
    return text


def _plain(hardware: Hardware) -> dict[str, Any]:
    return {
        "machine": [hardware.machine.kind, hardware.machine.memory],
        "version": hardware.version,
        "accelerator": hardware.accelerator,
        "settings": hardware.settings,
        "cpu": hardware.cpu,
        "processors": hardware.processors,
        "devices": [[device.key, device.kind, device.ident, device.facts] for device in hardware.devices],
        "blocks": [[block.name, block.used, block.total] for block in hardware.blocks],
        "usb": hardware.usb,
        "keepers": hardware.keepers,
    }


def _hardware(told: Mapping[str, Any]) -> Hardware:
    kind, memory, *_ = told["machine"]
    return Hardware(
        machine=Machine(_text(kind), _size(memory)),
        version=_text(told.get("version", "")),
        accelerator=_text(told.get("accelerator", "")),
        settings=_facts(told.get("settings", {})),
        cpu=_facts(told.get("cpu", {})),
        processors=tuple(map(_text, _rows(told.get("processors", [])))),
        devices=tuple(map(_device, _rows(told.get("devices", [])))),
        blocks=tuple(Block(_text(name), _size(used), _size(total)) for name, used, total, *_ in _rows(told.get("blocks", []))),
        usb=tuple(map(_text, _rows(told.get("usb", [])))),
        keepers=tuple(map(_text, _rows(told.get("keepers", [])))),
    )


def _device(row: list[Any]) -> Device:
    key, kind, ident, facts, *_ = row
    return Device(_text(key), _text(kind), _text(ident), _facts(facts))


def _rows(rows: object) -> list[Any]:
    if not isinstance(rows, list) or len(rows) > MAX_ROWS:
        raise ValueError("not a list, or too long")
    return rows


def _facts(facts: object) -> dict[str, Scalar]:
    if not isinstance(facts, dict) or len(facts) > MAX_ROWS:
        raise ValueError("not a table, or too long")
    return {_text(name): _scalar(value) for name, value in facts.items()}


def _scalar(value: object) -> Scalar:
    if isinstance(value, int) and abs(value) < 1 << 64:
        return value
    return _text(value)


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError("not a size")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError("not printable text")
    return value
