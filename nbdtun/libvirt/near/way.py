"""What the near end asks of its host and its tunnel: an interface, which ``service`` implements."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from attrs import frozen

from nbdtun.migration.carrier import Carrier


@frozen
class Handover:
    """
    What the near end does in a handover.

    ``begins`` is called before the destination is told to let the guest run. It raises NbdtunError or OSError where it must not be told.

    ``lost`` finds out where the guest is whose handover was lost: the name and the UUID of the domain if it runs at the destination, else
    None. It raises :exc:`~nbdtun.errors.OutcomeUnknown`: then libvirt is kept waiting by another process.
    """

    begins: Callable[[], object]
    lost: Callable[[], Coroutine[Any, Any, tuple[str, str] | None]]


@frozen
class Ward:
    """A ``session`` that is to be ended if this process is killed, with its ``secret``; and its domain's ``name`` and ``uuid``."""

    session: str
    secret: bytes
    name: str
    uuid: str


class Way(Carrier, Protocol):
    """
    The tunnel, with a directory for the sockets of one migration: :meth:`enter` makes them in it.

    A socket called ``libvirt.sock`` leads libvirt's own connection, whose keepalive is answered here while the link is away.
    """

    def guard(self, ward: Ward) -> None:
        """
        Have another process end the session if this one is killed.

        :raise ConfigError: it cannot be started.
        """

    async def make(self, directory: str, session: str, owner: tuple[int, int] | None, handover: Handover) -> None:
        """
        Make the directory, for sockets of QEMU's user ``owner`` (uid and gid); ``handover`` concerns libvirt's connection.

        :raise ConfigError: it cannot be made.
        :raise ProtocolViolation: it is no directory of this ``session``; the far end has named it.
        """

    @property
    def trouble(self) -> Exception | None:
        """Why one of the channels has failed; None if none has."""

    async def remove(self) -> None:
        """Remove the sockets and the directory, and reset what is still open; safe to repeat."""
