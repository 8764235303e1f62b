"""What the near end asks of its host and its tunnel: an interface, which ``service`` implements."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from nbdtun.migration.carrier import Carrier

#: Finds out where a guest is that was being handed over: the name and the UUID of the domain if it runs there, else None.
Handed = Callable[[], "Coroutine[Any, Any, tuple[str, str] | None]"]


class Way(Carrier, Protocol):
    """
    The tunnel, with a directory for the sockets of one migration: :meth:`enter` makes them in it.

    A socket called ``libvirt.sock`` leads libvirt's own connection, whose keepalive is answered here while the link is away.
    """

    async def make(self, directory: str, session: str, owner: tuple[int, int] | None, handed: Handed) -> None:
        """
        Make the directory, for sockets of QEMU's user ``owner`` (uid and gid).

        ``handed`` is asked if libvirt's connection is lost in a handover: libvirt hears of it afterwards.

        :raise ConfigError: it cannot be made.
        :raise ProtocolViolation: it is no directory of this ``session``; the far end has named it.
        """

    async def remove(self) -> None:
        """Remove the sockets and the directory, and reset what is still open; safe to repeat."""
