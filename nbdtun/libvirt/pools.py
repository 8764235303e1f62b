"""
The storage pools of this host's libvirt, and the volumes in them. All calls block.

A directory without a pool gets a transient one of ours for as long as a volume is made or removed in it. Its name is made of the directory,
so that one that was left by a killed process is known again.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from attrs import frozen

from nbdtun.errors import LibvirtError
from nbdtun.libvirt.connection import NO_VOLUME, asking

#: Begins the names of our transient pools.
PREFIX: Final = "nbdtun-"

#: Pools whose volumes are files in one directory, and others in which libvirt can make volumes.
_FOLDERS: Final = frozenset({"dir", "fs", "netfs"})
_MAKING: Final = _FOLDERS | {"logical", "disk", "zfs"}

#: virStoragePoolCreateFlags: to make the directory, with those above it.
_WITH_BUILD: Final = 1


@frozen
class Pool:
    """A storage pool of this ``kind``: ``dir``, ``logical``...; its volumes are in ``path``, and it has so many bytes ``available``."""

    name: str
    kind: str
    path: str
    active: bool = True
    available: int = 0

    @property
    def has_files(self) -> bool:
        """Whether its volumes are files in a directory, for which the file system says what is free."""
        return self.kind in _FOLDERS

    @property
    def can_make(self) -> bool:
        """Whether libvirt can make volumes in it."""
        return self.kind in _MAKING


class Pools:
    """The pools of the libvirt behind a virConnect."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return "<Pools>"

    def every(self) -> Iterator[Pool]:
        """All pools that there are, active or not, but ours."""
        with asking():
            texts = [(each.XMLDesc(0), each.isActive()) for each in self._connection.listAllStoragePools(0)]
        for text, active in texts:
            told = ET.fromstring(text)
            name = told.findtext("name", "")
            if not name.startswith(PREFIX):
                available = int(told.findtext("available", "0"))
                yield Pool(name, told.get("type", ""), told.findtext("target/path", ""), bool(active), available)

    def at(self, directory: str) -> Pool | None:
        """The pool whose volumes are in ``directory``; None if there is none. libvirt lets no directory have two."""
        real = os.path.realpath(directory)
        return next((pool for pool in self.every() if pool.path and os.path.realpath(pool.path) == real), None)

    def named(self, name: str) -> Pool | None:
        """The pool of this name; None if there is none."""
        return next((pool for pool in self.every() if pool.name == name), None)

    def make(self, pool: Pool | None, directory: str, volume: str) -> None:
        """
        Make the ``volume`` that this XML describes in ``pool``, or in ``directory``, which is made if it is missing.

        :raise LibvirtError: it cannot be made; nothing is left of it.
        """
        with self._opened(pool, directory) as found, asking():
            found.createXML(volume, 0)

    def path_of(self, pool: Pool, name: str) -> str:
        """The path of the volume of this name; empty if there is none."""
        try:
            with asking():
                path: str = self._connection.storagePoolLookupByName(pool.name).storageVolLookupByName(name).path()
                return path
        except LibvirtError as error:
            if error.number != NO_VOLUME:
                raise
            return ""

    def remove(self, pool: Pool | None, path: str) -> None:
        """
        Remove the volume at ``path``; one that is not there is in order.

        :raise LibvirtError: it cannot be removed.
        """
        try:
            with self._opened(pool, os.path.dirname(path)), asking():
                self._connection.storageVolLookupByPath(path).delete(0)
        except LibvirtError as error:
            if error.number != NO_VOLUME:
                raise

    def refresh(self, pool: Pool) -> None:
        """
        Let libvirt see what has come and gone in a pool.

        :raise LibvirtError: it cannot look.
        """
        with asking():
            self._connection.storagePoolLookupByName(pool.name).refresh(0)

    @contextmanager
    def _opened(self, pool: Pool | None, directory: str) -> Iterator[Any]:
        """A pool of the host's, or one of ours, which has ended after that."""
        if pool is not None:
            with asking():
                found = self._connection.storagePoolLookupByName(pool.name)
            yield found
            return
        found = self._ours(os.path.realpath(directory))
        try:
            yield found
        finally:
            with asking():
                found.destroy()

    def drop(self, directory: str) -> None:
        """
        End the pool of ours that a killed process has left in ``directory``; it does not know all that is there by now.

        :raise LibvirtError: it cannot be ended.
        """
        with asking():
            for left in self._connection.listAllStoragePools(0):
                if left.name() == _name(os.path.realpath(directory)):
                    left.destroy()

    def _ours(self, directory: str) -> Any:
        told = ET.Element("pool", type="dir")
        ET.SubElement(told, "name").text = _name(directory)
        ET.SubElement(ET.SubElement(told, "target"), "path").text = directory
        self.drop(directory)
        with asking():
            return self._connection.storagePoolCreateXML(ET.tostring(told, "unicode"), _WITH_BUILD)


def _name(directory: str) -> str:
    """The name of a pool of ours in that directory."""
    return PREFIX + sha256(os.fsencode(directory)).hexdigest()[:16]
