"""
The images that ``-drive`` and ``-blockdev`` name, what QEMU tells of them, and what the far end is to have in their place.

An image is found by the id of its drive or the name of its node; where there is none, by its path as the command line has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import evolve

from nbdtun.spawn.rewrite.answers import FORMATS, Place
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.rewrite.source import Node
from nbdtun.spawn.values import Image, Path, Role

#: Drivers of files and block devices of the host.
FILES = frozenset({"file", "host_device", "host_cdrom"})
#: Drivers of formats; all others are protocols and filters.
IMAGES = frozenset({"raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "dmg", "cloop", "bochs", "parallels", "luks"})

_PROTOCOL = re.compile(r"([A-Za-z][\w+.-]*):")
_NAMED = re.compile(r"/machine/peripheral/([^/]+)")


def plain(text: str) -> str:
    """The path in ``-drive file=``; empty if that is a protocol's address, or JSON."""
    path = text.removeprefix("file:") if text.startswith("file:") and not text.startswith("file://") else text
    return "" if _PROTOCOL.match(path) else path


def names(node: Node) -> list[str]:
    """The names by which an operator may call a disk."""
    named = _NAMED.match(node.qdev)
    return [name for name in (node.name, node.device, named[1] if named else node.qdev) if name]


def usual_name(node: Node) -> str:
    """The name by which an operator would call a disk: not one that QEMU has made up for this start, if there is another."""
    every = names(node)
    return next((name for name in every if not name.startswith(("#", "/"))), every[0] if every else "NODE")


def find(nodes: Iterable[Node], *, name: str = "", device: str = "", file: str = "", format_: str = "") -> Node | None:
    """The image with this name, or of this drive, or at this path, of this format if one is given; None if QEMU has none."""
    every = [node for node in nodes if not format_ or node.format == format_]
    if name:
        return next((node for node in every if node.name == name), None)
    of_drive = [node for node in every if node.drive]
    if device:
        return next((node for node in of_drive if node.device == device), None)
    return next((node for node in of_drive if node.file == file), None) or next((node for node in every if node.file == file), None)


def temporary(nodes: Iterable[Node], device: str, file: str) -> Node | None:
    """The image at ``file`` of a drive with ``snapshot=on``: what QEMU has open is a temporary one above it."""
    for node in nodes:
        if node.drive and node.chain[:1] == (file,) and (not device or node.device == device):
            return evolve(node, file=file, format=node.backing_format, options={}, chain=node.chain[1:], backing_format="")
    return None


def write(draft: Draft, node: Node, path: str, *, sparse: bool) -> tuple[str, str] | None:
    """
    Note that an image like ``node``, at ``path`` in the command line, is to be made; its path and format there, None if it cannot.

    A raw one that is not ``sparse`` is allocated in full by the copy: QEMU 9.1 and later do that without ``discard=unmap``.
    """
    place = _place(draft, node)
    name = next((name for name in names(node) if not name.startswith("#")), draft.option.id or node.name)
    origin = draft.whole(path) if path else ""
    far = place.path if place.path else draft.answers.far(origin)
    format_ = place.format or node.format
    if node.unfit or format_ not in FORMATS:
        why = node.unfit or f"nbdtun makes no images of the format {format_}"
        draft.refuse(f"disk {name}: {why}", None if node.unfit else f"choose another: --disk {name}=PATH,format=qcow2")
        return None
    if not far:
        return None
    made = _image(draft, node, name, far, format_, origin)
    draft.images.append(evolve(made, needed=made.needed if sparse or format_ != "raw" else node.size))
    return far, format_


def _image(draft: Draft, node: Node, name: str, far: str, format_: str, origin: str) -> Image:
    keeps = draft.answers.keep_backing and bool(node.chain) and format_ == "qcow2"
    if keeps and not all(map(plain, node.chain)):
        draft.refuse(f"disk {name}: an image below it is reached over the network", "leave --keep-backing out")
        keeps = False
    if keeps:
        draft.paths += [
            Path(draft.answers.far(draft.whole(file)), Role.MEDIUM, draft.option.where, draft.whole(file)) for file in node.chain
        ]
    return Image(
        node=name,
        path=far,
        format=format_,
        size=node.size,
        options=node.options if format_ == node.format else {},
        needed=min(node.allocated, node.size) or node.size,
        origin=origin,
        backing=draft.answers.far(draft.whole(node.chain[0])) if keeps else "",
        backing_format=node.backing_format if keeps else "",
    )


def read(draft: Draft, node: Node | None, path: str, role: Role) -> str:
    """Note that an image at ``path`` is only read; the far end's path."""
    if node is not None:
        if not all(map(plain, node.chain)):
            draft.warn("an image below it is read over the network, from the destination too")
        draft.paths += [Path(file, role, draft.option.where, file) for file in map(draft.whole, filter(plain, node.chain)) if file]
    return draft.place(path, role)


def _place(draft: Draft, node: Node) -> Place:
    return next((draft.answers.disks[name] for name in names(node) if name in draft.answers.disks), Place(node.name, ""))


def is_placed(draft: Draft, node: Node) -> bool:
    """Whether the operator has named a place for it."""
    return bool(_place(draft, node).path)
