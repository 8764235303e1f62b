"""
What makes the destination of a VM at the far end, where no QEMU waits: an interface, which both ends have.

At the far end, the part that starts QEMUs implements it (``service`` joins the two). At the near end,
:class:`nbdtun.reach.near.FarEnd` has the same methods, and asks over the dialogue. Values are JSON objects, which the dialogue carries and
does not read.
"""

from __future__ import annotations

from typing import Any, Protocol

#: A JSON object; at most :data:`nbdtun.amp.MAX_JSON` bytes as text.
Json = dict[str, Any]


class Maker(Protocol):
    """Makes the destination of one VM, and removes again what it made. Each method may raise an :exc:`~nbdtun.errors.NbdtunError`."""

    async def look(self, wanted: Json) -> Json:
        """Say what there is at this host: the facts that a plan needs. Nothing is changed."""

    async def make(self, plan: Json) -> str:
        """Make all of ``plan``, or nothing; returns the path of the QMP socket of the QEMU that now waits."""

    async def remove(self) -> None:
        """Remove what was made, as far as no guest has run on it; safe to repeat, and done by itself where the near end is lost."""

    async def keep(self) -> None:
        """The guest runs on what was made: never remove it."""
