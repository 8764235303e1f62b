"""What a control socket controls: a migration, a daemon, or an evacuation. :mod:`.commands` has the questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from nbdtun.service.control.commands import ChangedVMs


class Controllable(Protocol):
    """What a control socket controls."""

    def report(self) -> dict[str, Any]:
        """Its state: an object with ``kind``, ``name``, ``pid``, and the ``release`` of nbdtun that has made it."""

    async def survey(self) -> dict[str, Any]:
        """The same, with what takes time to find out."""

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> Mapping[str, Any] | None:
        """See :class:`~nbdtun.service.control.commands.Set`; None leaves a value as it is. Returns what the report has besides."""

    def end(self) -> None:
        """
        Begin to end it.

        :raise TooLate: it cannot be ended, or no longer.
        """


@runtime_checkable
class Serving(Protocol):
    """A daemon, for the questions that are for daemons."""

    async def serve(self, vms: ChangedVMs) -> dict[str, Any]:
        """
        See :class:`~nbdtun.service.control.commands.Serve`; returns what the report has besides.

        :raise NbdtunError: it receives no VMs, or not these.
        """

    async def reload(self) -> dict[str, Any]:
        """
        See :class:`~nbdtun.service.control.commands.Reload`; returns what the report has besides.

        :raise NbdtunError: it has no configuration file, or cannot use it.
        """

    async def replace(self, seconds: float | None) -> dict[str, Any]:
        """
        See :class:`~nbdtun.service.control.commands.Replace`; returns what the report has besides.

        :raise NbdtunError: its program cannot be replaced, or the new one does not take over.
        """


@runtime_checkable
class Yielding(Protocol):
    """A migration, which can give way to others."""

    async def give_way(self, bandwidth: int) -> None:
        """
        See :class:`~nbdtun.service.control.commands.Yield`.

        :raise NbdtunError: its limits cannot be changed at present.
        """
