"""
The door of a receiver that ssh has started: the socket to which the relays of ssh sessions connect. A torn session takes nothing down.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from nbdtun.deferreds import stopped
from nbdtun.ownership.directories import make_directories, remove_empty
from nbdtun.ownership.listening import Listener
from nbdtun.process import adopt, quiet_factory
from nbdtun.reach.far import Door, DoorFactory
from nbdtun.reach.relay import door_path
from nbdtun.service.local import ownership
from nbdtun.service.local.listening import LocalEndpoint
from nbdtun.service.receive import Receiver


async def serve_at_door(receiver: Receiver, first: socket.socket, ready: Callable[[], object] = lambda: None) -> None:
    """
    Serve the connection ``first`` and those that come through the door, until there is nothing left to do; ``ready`` is called when the
    door is open.

    :raise ConfigError: there is another receiver of that name, or its door cannot be made.
    """
    path = door_path(receiver.base, receiver.name)
    ownership.check(path.parent)
    make_directories(f"{path.parent}")
    port = await LocalEndpoint(Listener(receiver.reactor, f"{path}", 0o600), f"unix:{path}").listen(DoorFactory(receiver))
    try:
        ready()
        with first:
            first.setblocking(False)
            adopt(receiver.reactor, first, quiet_factory(lambda: Door(receiver)))
        await receiver.serve()
    finally:
        await stopped(port)  # first: the next one opens its own
        with suppress(OSError):  # another one has its door there
            remove_empty(f"{path.parent}")
        await receiver.end()
