"""
The end of a migration to this host that did not succeed: a domain that still waits is ended, and what was made is removed.

The same serves a migration of this process, and what a killed process has left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from attrs import frozen
from twisted.internet.task import deferLater

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.far import volumes
from nbdtun.libvirt.far.outcome import doubt, is_gone
from nbdtun.libvirt.far.record import Begun
from nbdtun.libvirt.host import Domain, Host
from nbdtun.libvirt.pools import Pools
from nbdtun.ownership.directories import remove_empty, remove_tree
from nbdtun.ownership.images import remove_left
from nbdtun.process import Reactor
from nbdtun.spawn.far import images

#: Seconds in which libvirt ends what it was told to: it takes a guest over, or drops the domain of a connection that was lost.
SETTLE_SECONDS: Final = 10.0
#: Seconds between two looks at that.
LOOK_AGAIN: Final = 0.2


@frozen
class Stays:
    """``why`` what was made stays; ``has_run``: a guest runs on it, has run, or may have, which is ``doubtful``."""

    why: str
    has_run: bool
    doubtful: bool = False


async def wind_up(reactor: Reactor, libvirt: Libvirt, begun: Begun, *, sure: bool = False) -> Stays | None:
    """
    End a migration that did not succeed; returns why what was made stays, None if it is gone.

    ``sure``: its source knows that its own guest goes on.

    :raise LibvirtError: libvirt does not answer.
    """
    domain, ended = await _ended(reactor, libvirt, begun)
    why = doubt(begun, domain)
    certain = is_gone(domain) and (sure or ended)
    if why and not certain and (domain is None or domain.active or begun.handed_over):
        return Stays(why, True, doubtful=is_gone(domain) and not begun.answered)
    return await libvirt.do(lambda opened: _remove_unused(opened, begun, "" if certain else why))


async def _ended(reactor: Reactor, libvirt: Libvirt, begun: Begun) -> tuple[Domain | None, bool]:
    """The domain once it waits no more, and whether it was ended while it did: one that is being taken over is given the time for that."""
    until = reactor.seconds() + SETTLE_SECONDS
    while True:
        domain = await libvirt.do(lambda opened: Host(opened).domain(begun.uuid))
        if domain is None or not domain.arrives:
            return domain, False
        if not begun.handed_over or reactor.seconds() >= until:
            await libvirt.do(lambda opened: Host(opened).end(begun.uuid))
            return await libvirt.do(lambda opened: Host(opened).domain(begun.uuid)), True
        await deferLater(reactor, LOOK_AGAIN)


def _remove_unused(opened: Any, begun: Begun, why: str) -> Stays | None:
    """
    Remove what was made; returns who uses an image, if somebody does: then all stays.

    ``why`` is the doubt about a domain that was shut off before, perhaps: without data in the images there is none.
    """
    users = Host(opened).disks()
    for made in begun.images:
        if made.is_there:
            others = sorted(users.get(os.path.realpath(made.path), frozenset()) - {begun.uuid})
            if others or _is_open(made.path):
                return Stays(f"{made.path} is used by {'the domain ' + others[0] if others else 'another QEMU'}", False)
            if why and not volumes.is_empty(made.path):
                return Stays(why, True)
    remove(begun, Pools(opened))
    return None


def _is_open(path: str) -> bool:
    with suppress(NotMigratable):  # no qemu-img
        return images.LOCKED.search(images.inspect(path)[1]) is not None
    return False


def remove(begun: Begun, pools: Pools) -> None:
    """
    Remove all that was made, the last first; what is not ours any more stays.

    :raise LibvirtError: an image cannot be removed.
    """
    for made in reversed(begun.images):
        volumes.remove(made, pools)
    for path in begun.left:
        remove_left(path)
    _remove_folders(begun.folders)
    if begun.directory:
        remove_tree(begun.directory)


def _remove_folders(folders: Iterable[str]) -> None:
    for folder in sorted(folders, key=len, reverse=True):
        with suppress(OSError):  # somebody else has put something there
            remove_empty(folder)
