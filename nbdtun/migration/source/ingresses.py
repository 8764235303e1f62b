"""The source's ends of the tunnel for QEMU, by name: ``nbd`` for its disks, ``ram`` for its memory."""

from __future__ import annotations

from functools import partial

from nbdtun.migration.carrier import Carrier, Farewell, Ingress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.memory import stop


class Ingresses:
    """Opens them through ``carrier``; ``tidy`` closes those that are left. ``secret`` is the session's."""

    def __init__(self, carrier: Carrier, tidy: UndoStack, secret: bytes = b"") -> None:
        self._carrier = carrier
        self._secret = secret
        self._tidy = tidy
        self._open: dict[str, Ingress] = {}

    def __repr__(self) -> str:
        return f"<Ingresses {', '.join(self._open) or 'none'}>"

    async def enter(self, target: str, name: str, *, urgent: bool = False, farewell: Farewell | None = None) -> Ingress:
        """
        Open one to ``target``.

        :raise NbdtunError: its socket cannot be made.
        """
        ingress = self._open[name] = await self._carrier.enter(target, name, urgent=urgent, farewell=farewell, secret=self._secret)
        self._tidy.push(f"close the {name} socket", partial(self.shut, name))
        return ingress

    def shut_first(self, undo: UndoStack, monitor: Monitor, *, switching: bool, several: bool) -> None:
        """
        Let ``undo`` begin with closing those in which QEMU may wait, deaf to its monitor: that of the memory only if it is ``switching``
        over, or has ``several`` connections.
        """
        for name in ("ram", "nbd") if switching or several else ("nbd",):
            undo.push(f"close the {name} socket", partial(self.shut, name))
        if several and not switching:
            undo.push("stop the migration of the memory", partial(stop, monitor))

    async def shut(self, name: str) -> None:
        """Close one, if it is open."""
        if name in self._open:
            await self._open.pop(name).close()
