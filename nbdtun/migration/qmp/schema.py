"""
The parts of QEMU's answers and events that nbdtun relies on, as one table. They are checked on arrival, so that later code need not.

A QEMU may be broken or controlled by its guest, and a QMP socket need not belong to a QEMU at all. An answer that does not fit is an
error of that monitor, in one line, and not a ``KeyError`` later. Keys that are in no shape are ignored, since each version of QEMU
reports more than the one before.

A shape is a type, a list of one shape, or a dictionary of them, where a key that ends in ``?`` may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen
class Leaf:
    """A value that is no container, called ``what`` in messages."""

    what: str
    kind: type

    def fits(self, value: object) -> bool:
        """Whether ``value`` is one."""
        return type(value) is self.kind


class _Count(Leaf):
    def fits(self, value: object) -> bool:
        return type(value) is int and 0 <= value < 1 << 63


class _Name(Leaf):
    def fits(self, value: object) -> bool:
        return isinstance(value, str) and value.isprintable()


COUNT, FLAG = _Count("a non-negative integer", int), Leaf("true or false", bool)
NAME, TEXT = _Name("printable text", str), Leaf("text", str)  # text that is only shown in an error need not be printable

Shape = Leaf | list[Any] | Mapping[str, Any]

ANSWERS: Mapping[str, Shape] = {
    "qom-get": NAME,  # a type; nothing else is asked for
    "qom-list": [{"name": NAME, "type": NAME}],
    "query-block": [
        {
            "device?": NAME,
            "qdev?": NAME,
            "inserted?": {
                "node-name?": NAME,
                "ro?": FLAG,
                "drv?": NAME,
                "file?": TEXT,
                "cache?": {"writeback?": FLAG},
                "image?": {"virtual-size?": COUNT},
            },
        }
    ],
    "query-block-exports": [{"id": NAME, "node-name?": NAME, "type?": NAME}],
    "query-block-jobs": [{"device": NAME, "len": COUNT, "offset": COUNT}],
    "query-blockstats": [{"stats?": {"wr_operations?": COUNT}}],
    "query-commands": [{"name": NAME}],
    "query-cpus-fast": [{}],
    "query-dirty-rate": {"status": NAME, "dirty-rate?": COUNT},
    "query-dump": {"status": NAME},
    "query-hotpluggable-cpus": [{"props": {}, "qom-path?": NAME}],
    "query-jobs": [{"id": NAME, "type?": NAME, "status?": NAME}],
    "query-kvm": {"enabled": FLAG},
    "query-memdev": [{"size": COUNT}],
    "query-memory-devices": [{"type": NAME, "data": {"id?": NAME, "size?": COUNT}}],
    "query-memory-size-summary": {"base-memory": COUNT},
    "query-migrate": {
        "status?": NAME,
        "ram?": {"transferred?": COUNT, "remaining?": COUNT},
        "error-desc?": TEXT,
        "blocked-reasons?": [TEXT],
        "socket-address?": [{"path?": NAME}],
    },
    "query-migrate-capabilities": [{"capability": NAME, "state": FLAG}],
    "query-migrate-parameters": {},
    "query-named-block-nodes": [
        {
            "node-name": NAME,
            "drv?": NAME,
            "file?": TEXT,
            "cache?": {"direct?": FLAG},
            "image?": {
                "snapshots?": [{"id": NAME, "name": NAME}],
                "format-specific?": {"data?": {"compat?": NAME}},
            },
            "dirty-bitmaps?": [
                {"name?": NAME, "persistent?": FLAG, "busy?": FLAG, "inconsistent?": FLAG, "recording?": FLAG, "granularity?": COUNT}
            ],
        }
    ],
    "query-status": {"status": NAME},
    "query-tpm": [{"options": {"type": NAME}}],
    "query-uuid": {"UUID": NAME},
    "query-yank": [{"type": NAME}],
    "query-version": {"qemu": {"major": COUNT, "minor": COUNT, "micro": COUNT}},
    "x-debug-query-block-graph": {"nodes": [{"id": COUNT, "name": NAME}], "edges": [{"parent": COUNT, "child": COUNT}]},
    "x-query-ramblock": {"human-readable-text": TEXT},
}

#: The same for commands that are sent for many objects at once: a mismatch counts as no answer. ``qom-get`` may return anything.
MANY: Mapping[str, Shape] = {"qom-list": [{"name": NAME, "type": NAME}]}

EVENTS: Mapping[str, Shape] = {
    "BLOCK_JOB_CANCELLED": {"device": NAME},
    "BLOCK_JOB_COMPLETED": {"device": NAME, "error?": TEXT},
    "BLOCK_JOB_READY": {"device": NAME},
    "JOB_STATUS_CHANGE": {"id": NAME, "status": NAME},
    "MIGRATION": {"status": NAME},
}


def mismatch(shape: Shape | None, value: object, where: str = "") -> str:
    """The mismatch of ``value``, in a few words; empty if it fits, or if there is no shape for it."""
    if shape is None:
        return ""
    if isinstance(shape, Leaf):
        return "" if shape.fits(value) else f"{where or 'it'} is not {shape.what}"
    if isinstance(shape, list):
        return _misfit_in_list(shape[0], value, where)
    return _misfit_in_object(shape, value, where)


def _misfit_in_list(shape: Shape, value: object, where: str) -> str:
    if not isinstance(value, list):
        return f"{where or 'it'} is not a list"
    return next((wrong for each in value if (wrong := mismatch(shape, each, f"{where}[]"))), "")


def _misfit_in_object(shapes: Mapping[str, Any], value: object, where: str) -> str:
    if not isinstance(value, dict):
        return f"{where or 'it'} is not an object"
    for key, shape in shapes.items():
        name = key.removesuffix("?")
        path = f"{where}.{name}".lstrip(".")
        if name not in value and not key.endswith("?"):
            return f"{path} is missing"
        if name in value and (wrong := mismatch(shape, value[name], path)):
            return wrong
    return ""
