"""
Which places of this host a source may name. Rules only.

A source's certificate is not the key to the host: without these rules, its domain could have any file of the host as its disk. Over ssh the
far end has the rights of the user who came, and there are no such rules.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from attrs import frozen

from nbdtun.libvirt.findings import FORBIDDEN
from nbdtun.libvirt.rpc.places import places, read_only, words
from nbdtun.migration.finding import Finding

#: The directories that every domain may use: libvirt's own, for images and NVRAM.
ROOTS: Final = ("/var/lib/libvirt/images", "/var/lib/libvirt/qemu/nvram")

#: Files that every domain may read or run: programs, firmware, sources of randomness. In another role libvirt would make or overwrite
#: them, or give them to QEMU's user.
READ: Final = ("/usr/share", "/usr/lib", "/usr/libexec", "/dev/random", "/dev/urandom", "/dev/hwrng")
_EMULATORS: Final = ("/usr/bin/qemu-", "/usr/bin/kvm")

#: Places that are no names within libvirt: files without a whole path, the host's hardware, another user for QEMU.
_REFUSED: Final = words(
    "file dir path socket evdev template keyfile agentsock logFile runtimeDir rendernode vhost emulator loader nvram kernel initrd dtb "
    "database certificate rawio sgio smartcard seclabel"
)


@frozen
class Rules:
    """What is admitted: ``anywhere`` all that the user may use; else :data:`ROOTS`, :data:`READ`, the pools, and directories, ``roots``."""

    anywhere: bool = False
    roots: tuple[str, ...] = ()

    def judge(self, xml: str, paths: Collection[str], pools: Iterable[str], owner: tuple[int, int] | None) -> Iterator[Finding]:
        """
        Yield what is not admitted of a domain's XML, and of other ``paths`` that it will use. ``pools`` are the directories of the host's
        pools, ``owner`` the user and group of its QEMUs.

        :raise NotMigratable: no domain may have that, whoever asks: host devices, QEMU's own arguments.
        """
        named, only_read = places(xml), read_only(xml)
        if self.anywhere:
            return
        own = "" if owner is None else f"seclabel:dac:static:+{owner[0]}:+{owner[1]}"
        within = tuple(map(os.path.realpath, (*ROOTS, *self.roots, *pools)))
        for place in sorted({*named, *paths}):
            if place.startswith("/"):
                if not _is_within(place, within) and not (place in only_read and place not in paths and _is_read(place)):
                    yield FORBIDDEN(f"{place} is in no storage pool there, and in no directory that nbdtun there admits")
            elif place.partition(":")[0] in _REFUSED and place != own:
                yield FORBIDDEN(f"the domain names {place}, which nbdtun there does not admit", "remove it from the domain")


def _is_read(path: str) -> bool:
    return os.path.normpath(path).startswith(_EMULATORS) or _is_within(path, READ)


def _is_within(path: str, roots: Iterable[str]) -> bool:
    real = os.path.realpath(path)
    return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)
