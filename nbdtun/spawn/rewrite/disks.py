"""
The options that have images: ``-drive``, its shorthands such as ``-hda``, and ``-blockdev``.

The copy is one image, without a backing chain. So nodes of ``-blockdev`` that are only somebody's backing file are left out.

QEMU facts (7.2 and 10.0; softmmu/vl.c): ``-hda FILE`` is ``-drive index=0,media=disk,file=FILE``, with FILE as it stands; ``-pflash`` is
``if=pflash``. A drive without ``format`` is probed, and an empty image would be taken for a raw one.

A path below ``/dev`` is a block device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import evolve

from nbdtun.spawn.command.line import Option
from nbdtun.spawn.command.params import Params
from nbdtun.spawn.rewrite import nodes, remote
from nbdtun.spawn.rewrite.draft import Draft
from nbdtun.spawn.rewrite.source import Node
from nbdtun.spawn.values import Role

_NETWORK = "it is reached over the network, and its copy needs a file"
#: Drivers of images that are reached over the network, or by a library.
_PROTOCOLS: Final = frozenset({"nbd", "rbd", "iscsi", "ssh", "http", "https", "ftp", "ftps", "nfs", "gluster", "vxhs", "sheepdog"})
#: With these, the copy of a sparse image is sparse.
_DISCARDS: Final = ("unmap", "on")
#: Raw images within others.
_PART: Final = ("offset", "size")


def drive(draft: Draft, option: Option) -> Option:
    """Rewrite a ``-drive``, or one of its shorthands."""
    params = remote.params_of(option)
    own = next((key for key in remote.OWN if key in params), "")
    if not own and not remote.is_remote(params):
        draft.strict(params)
        return Option("drive", str(params))
    path = nodes.plain(params.get(own)) if own == "file" else params.get(own)
    named = params.get(own) or "its image"
    snapshot = params.is_on("snapshot") or any(each.name == "snapshot" for each in draft.source.options)
    found = _find(draft, params, own, path, snapshot=snapshot)
    if found is None or (not snapshot and path and nodes.plain(found.file) != path):
        draft.refuse(f"QEMU does not use {named} any more: its medium, or its chain of images, was changed since its start")
        return option
    if snapshot:
        draft.warn("without snapshot: the destination's image keeps what the guest changes")
        params = params.drop("snapshot")
    if not found.read_only or snapshot:
        params = _written(draft, params, found, path, own)
    elif path:
        role = Role.FIRMWARE if params.get("if") == "pflash" else Role.MEDIUM
        params = params.set(own, nodes.read(draft, found, path, role))
    else:
        draft.warn(f"{named} is read over the network, from the destination too")
    draft.strict(params, remote.OWN)
    return Option("drive", str(params))


def _find(draft: Draft, params: Params, own: str, path: str, *, snapshot: bool) -> Node | None:
    known, device = draft.source.nodes, params.get("id")
    if snapshot:
        return nodes.temporary(known, device, params.get(own))
    found = nodes.find(known, device=device, file=params.get(own)) if own or device else None
    return found if found or path else remote.in_its_place(draft.source, draft.option)


def _written(draft: Draft, params: Params, node: Node, path: str, own: str) -> Params:
    if not path and not nodes.is_placed(draft, node):
        draft.refuse(f"{params.get(own) or 'its image'}: {_NETWORK}", f"name one: --disk {nodes.usual_name(node)}=PATH,format=qcow2")
        return params
    made = nodes.write(draft, node, path, sparse=params.get("discard") in _DISCARDS)
    if made is None:
        return params
    if not path and params.get("driver") not in nodes.IMAGES:
        params = remote.without_address(params)
    params = params.drop("backing").set("driver" if "driver" in params and "format" not in params else "format", made[1])
    return params.set(own, made[0]) if path else params.drop("file").set("file", made[0])


class Blockdevs:
    """All ``-blockdev`` of a command line: they name each other."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._options = {option.id: option for option in draft.source.options if option.name == "blockdev"}
        self._params = {name: option.params for name, option in self._options.items()}
        self._left_out = frozenset() if draft.answers.keep_backing else self._only_backing()

    def __repr__(self) -> str:
        return f"<Blockdevs {sorted(self._params)}>"

    def rewrite(self) -> dict[str, Option | None]:
        """Each of them by its node's name, rewritten; None for one that is left out."""
        owned: set[str] = set()
        for name in self._params:
            if name not in self._left_out:
                self._draft.option = self._options[name]
                owned |= set(self._of_formats(name))
        for name, params in self._params.items():
            if name not in self._left_out | owned:
                self._draft.option = self._options[name]
                self._alone(name, params.get("driver"), nodes.find(self._draft.source.nodes, name=name))
        for name, params in self._params.items():
            if name not in self._left_out:
                self._draft.option = self._options[name]
                self._draft.strict(params, [pair.key for pair in params.pairs if pair.key.endswith("filename")])
        return {name: None if name in self._left_out else option.with_(self._params[name]) for name, option in self._options.items()}

    def _only_backing(self) -> frozenset[str]:
        """The nodes that are a backing file, or below one, and nothing else."""
        used = {value for option in self._draft.source.options if option.name == "device" for value in [option.params.get("drive")]}
        kept: set[str] = set()
        tops = [name for name in self._params if name in used or not any(name in self._below(other) for other in self._params)]
        while tops:
            name = tops.pop()
            if name not in kept:
                kept.add(name)
                tops += [below for below in self._below(name, backing=False) if below in self._params]
        return frozenset(self._params.keys() - kept)

    def _below(self, name: str, *, backing: bool = True) -> Iterator[str]:
        """The values of a node that may be names of others."""
        for pair in self._params[name].pairs:
            if pair.key != "node-name" and (backing or "backing" not in pair.path):
                yield pair.text

    def _of_formats(self, name: str) -> Iterator[str]:
        """Rewrite the images that are formats in this option; yields the nodes of files that belong to them."""
        if not self._draft.answers.keep_backing:
            self._params[name] = self._without_backing(self._params[name])
        for key, driver in list(self._params[name].below("")):
            if driver in nodes.IMAGES and (key == "driver" or key.endswith(".driver")):
                yield from self._of_format(name, key.removesuffix("driver"))

    @staticmethod
    def _without_backing(params: Params) -> Params:
        tops = {pair.key[: pair.key.index("backing") + len("backing")] for pair in params.pairs if "backing" in pair.key.split(".")}
        return params.drop(*tops)

    def _of_format(self, name: str, prefix: str) -> Iterator[str]:
        params = self._params[name]
        inside = f"{prefix}file.driver" in params
        child = name if inside else params.get(f"{prefix}file")
        below = f"{prefix}file." if inside else ""
        if child not in self._params:
            self._draft.refuse(f"its file {child or '(none)'} is not in the command line")
            return
        if not inside:
            yield child
        driver = self._params[child].get(f"{below}driver")
        if driver in nodes.IMAGES:  # another format in between has the file
            return
        node = self._known(params.get(f"{prefix}node-name"), self._params[child].get(f"{below}filename"), params.get(f"{prefix}driver"))
        if params.get(f"{prefix}driver") == "raw" and any(f"{prefix}{key}" in params for key in _PART):
            self._draft.refuse("it is only a part of an image")
        elif driver in nodes.FILES:
            self._leaf(child, below, node, (name, prefix))
        elif node is not None and not node.read_only and driver not in IN_BETWEEN:
            self._network(child, below, node, (name, prefix))

    def _known(self, name: str, file: str, format_: str) -> Node | None:
        known = self._draft.source.nodes
        return nodes.find(known, name=name) if name else nodes.find(known, file=file, format_=format_)

    def _alone(self, name: str, driver: str, node: Node | None) -> None:
        """Rewrite a file without a format of its own, here or over the network."""
        if driver in nodes.FILES:
            self._leaf(name, "", node, None)
        elif driver in _PROTOCOLS and node is not None and not node.read_only:
            self._network(name, "", node, None)

    def _leaf(self, name: str, below: str, node: Node | None, owner: tuple[str, str] | None) -> None:
        """Rewrite a file, which is the image ``node``; ``owner`` has the name and the prefix of its format."""
        path = self._params[name].get(f"{below}filename")
        if node is None or nodes.plain(node.file) != path:
            self._draft.refuse(f"QEMU does not use {path} any more: its medium, or its chain of images, was changed since its start")
        elif node.read_only:
            self._params[name] = self._params[name].set(f"{below}filename", nodes.read(self._draft, node, path, Role.MEDIUM))
        else:
            self._write(name, below, node, path, owner)

    def _write(self, name: str, below: str, node: Node, path: str, owner: tuple[str, str] | None) -> None:
        upper = self._params[owner[0] if owner else name]
        sparse = any(pair.key.endswith("discard") and pair.text in _DISCARDS for pair in upper.pairs)
        made = nodes.write(self._draft, node if owner else _raw(node), path, sparse=sparse)
        if made is None:
            return
        far, format_ = made
        if owner is None and format_ != "raw":
            self._draft.refuse("it has no node of a format, so its copy must be raw", f"use --disk {name}={far},format=raw")
        driver = "host_device" if far.startswith("/dev/") else "file"
        self._params[name] = self._params[name].set(f"{below}driver", driver).set(f"{below}filename", far)
        if owner:
            self._params[owner[0]] = self._params[owner[0]].set(f"{owner[1]}driver", format_)

    def _network(self, name: str, below: str, node: Node, owner: tuple[str, str] | None) -> None:
        if not nodes.is_placed(self._draft, node):
            self._draft.refuse(_NETWORK, f"name one: --disk {node.name}=PATH,format={'qcow2' if owner else 'raw'}")
            return
        params = self._params[name]
        stays = {key: value for key, value in params.below(below) if key == f"{below}node-name"}
        bare = params.drop(below.removesuffix(".")) if below else Params((), params.first, params.is_json)
        for key, value in stays.items():
            bare = bare.set(key, value)
        self._params[name] = bare.set(f"{below}driver", "file").set(f"{below}filename", "")
        self._write(name, below, node, "", owner)


def _raw(node: Node) -> Node:
    return evolve(node, format="raw", options={})


#: Filters that may stand between a format and its file.
IN_BETWEEN: Final = frozenset({"throttle", "copy-on-read", "preallocate", "blkdebug", "blklogwrites", "blkverify"})
