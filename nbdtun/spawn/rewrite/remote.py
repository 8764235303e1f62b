"""
A ``-drive``, its shorthands such as ``-hda``, and images that QEMU reaches over the network: by an address, or by a protocol's keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import evolve

from nbdtun.spawn.command.line import Option
from nbdtun.spawn.command.params import Params
from nbdtun.spawn.rewrite.nodes import FILES, IMAGES, plain
from nbdtun.spawn.rewrite.source import Node, Source

#: What each shorthand adds to a ``-drive``.
SHORTHANDS: Final[Mapping[str, str]] = {
    "hda": "index=0,media=disk",
    "hdb": "index=1,media=disk",
    "hdc": "index=2,media=disk",
    "hdd": "index=3,media=disk",
    "cdrom": "index=2,media=cdrom",
    "fda": "if=floppy,index=0",
    "fdb": "if=floppy,index=1",
    "mtdblock": "if=mtd",
    "sd": "if=sd",
    "pflash": "if=pflash",
}
#: The keys of a drive's file.
OWN: Final = ("file", "file.filename", "filename")
#: Keys of a ``-drive`` that are not its image's.
_STAY: Final = re.compile(
    r"(if|id|index|bus|unit|media|cache|cache\..*|aio|discard|detect-zeroes|read-?only|werror|rerror|copy-on-read|serial|format|node-name"
    r"|force-share|auto-read-only|(throttling|iops|bps).*|group)"
)


def params_of(option: Option) -> Params:
    """The keys and values of a ``-drive``, or of one of its shorthands."""
    return option.params if option.name == "drive" else Params.read(SHORTHANDS[option.name]).set("file", option.value)


def is_remote(params: Params) -> bool:
    """Whether a drive's image is reached over the network."""
    if "file" in params:
        return not plain(params.get("file"))
    if any(key in params for key in OWN):
        return False
    return any(params.below("file.")) or params.get("driver") not in ("", *FILES, *IMAGES)


def in_its_place(source: Source, wanted: Option) -> Node | None:
    """
    The image of a drive without an id, by its place among those: QEMU may tell its address in another form than the command line.

    None if there are more, or fewer, than the command line has.
    """
    drives = [(option, params_of(option)) for option in source.options if option.name == "drive" or option.name in SHORTHANDS]
    asked = [option for option, params in drives if is_remote(params) and "id" not in params]
    ids = {params.get("id") for _, params in drives}
    found = [node for node in source.nodes if node.drive and node.device and node.device not in ids and not plain(node.file)]
    if len(asked) != len(found):
        return None
    return next((node for option, node in zip(asked, found, strict=True) if option is wanted), None)


def without_address(params: Params) -> Params:
    """The keys of a drive that stay when its image becomes a file."""
    return evolve(params, pairs=tuple(pair for pair in params.pairs if _STAY.fullmatch(pair.key)))
