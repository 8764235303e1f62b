"""The tunnel as the migration sees it at the destination: where the channels of one session come out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint

from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.targets import EndpointTarget


class TunnelQuay:
    """A directory for one session's sockets, and the targets that lead to them: see :class:`nbdtun.migration.carrier.Quay`."""

    def __init__(self, reactor: Any, destination: Destination, directory: Path) -> None:
        self._reactor = reactor
        self._destination = destination
        self._directory = directory
        self._admitted: list[str] = []

    @property
    def directory(self) -> str:
        """Where the destination QEMU can make sockets."""
        return str(self._directory)

    def admit(self, target: str, path: str) -> None:
        """Let channels to ``target`` connect to the UNIX socket ``path``, from now on."""
        self._destination.targets.add(target, EndpointTarget(UNIXClientEndpoint(self._reactor, path), f"unix:{path}"))
        self._admitted.append(target)

    async def dismiss(self) -> None:
        """Admit nothing more, reset the channels that are left."""
        admitted, self._admitted = self._admitted, []
        for target in admitted:
            self._destination.targets.remove(target)
            self._destination.reset(target, "the migration has no more use for it")

    async def close(self) -> None:
        """Dismiss, and remove the directory."""
        await self.dismiss()
        shutil.rmtree(self._directory, ignore_errors=True)
