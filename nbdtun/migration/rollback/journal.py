"""
What a migration has begun with a QEMU, written down in that QEMU: whoever comes after a ``kill -9`` can read it, and undo it.

QEMU keeps named pieces of text for whoever asks, its ``secret`` objects. One of them, of a fixed name, is a better place than a file:
it is there for as long as what it tells of, it is seen through every monitor of that QEMU, and since a name that is taken is refused,
it is a lock as well. Each line in it is written *before* the step that it tells of.

QEMU facts (7.2 and 10.0): ``object-add`` of an id that is taken fails; ``data`` of a ``secret`` is read by ``qom-get`` and changed by
``qom-set``; objects do not migrate. ``total-time`` in ``query-migrate`` counts, by the same clock as Python's ``time.monotonic``,
from ``migrate`` to now, or to the end of a migration that has completed.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from time import monotonic
from typing import Any

from attrs import asdict, evolve, field, frozen, validators

from nbdtun.errors import CommandFailed, NotMigratable
from nbdtun.migration.ids import JOURNAL, SESSION
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.presence import Presence, is_present

PATH = f"/objects/{JOURNAL}"
_NUMBER = validators.optional(validators.instance_of((int, float)))


class End(enum.StrEnum):
    """Which end of a migration the QEMU is."""

    SOURCE = "source"
    DESTINATION = "destination"


@frozen(kw_only=True)
class Entry:
    """
    All that is written down.

    ``pid`` is who works on it; ``runs``: the guest is to run when all is over. ``began`` is when the memory was begun to be sent (at
    the destination: to be waited for), ``switched`` when the last of it was, in seconds since the host's boot; None before. From
    ``handed_over`` on the guest may run at the destination. ``capabilities`` and ``parameters`` are what QEMU had before.
    """

    session: str = field(validator=validators.matches_re(SESSION))
    end: End = field(converter=End)
    pid: int = field(validator=validators.instance_of(int))
    runs: bool = field(validator=validators.instance_of(bool))
    began: float | None = field(default=None, validator=_NUMBER)
    switched: float | None = field(default=None, validator=_NUMBER)
    handed_over: bool = field(default=False, validator=validators.instance_of(bool))
    capabilities: Mapping[str, bool] = field(factory=dict, validator=validators.instance_of(dict))
    parameters: Mapping[str, Any] = field(factory=dict, validator=validators.instance_of(dict))

    @classmethod
    def parse(cls, text: str) -> Entry:
        """
        The reverse of :meth:`text`.

        :raise ValueError: it is not one.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not a journal entry: {error}") from error

    def text(self) -> str:
        """JSON, to be read by whichever process comes after us."""
        return json.dumps(asdict(self))

    @property
    def name(self) -> str:
        """What its process holds while it lives; everybody can see it, so it does not tell the session's id."""
        return f"nbdtun-{self.end.value}-{sha256(self.session.encode()).hexdigest()[:32]}"

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return is_present(self.name)


async def read(monitor: Monitor) -> Entry | None:
    """
    What is written down in this QEMU; None if nothing is.

    :raise NotMigratable: it cannot be understood.
    """
    try:
        text = await monitor.execute("qom-get", {"path": PATH, "property": "data"})
    except CommandFailed:
        return None
    try:
        return Entry.parse(text)
    except ValueError as error:
        why = f"{monitor.name}: another version of nbdtun was migrating it ({error})"
        raise NotMigratable(f"{why}; let that version end it, or `object-del {JOURNAL}` if that migration is long gone") from error


async def erase(monitor: Monitor) -> None:
    """Take it out of QEMU."""
    await monitor.execute("object-del", {"id": JOURNAL})


class Journal:
    """The journal of the session ``session``, which is kept in the QEMU behind ``monitor`` while it is open."""

    def __init__(self, monitor: Monitor, end: End, session: str, uptime: Callable[[], float] = monotonic) -> None:
        self._monitor = monitor
        self._uptime = uptime
        self._entry = Entry(session=session, end=end, pid=os.getpid(), runs=False)
        self._presence = Presence(self._entry.name)
        self._open = False

    def __repr__(self) -> str:
        return f"<Journal {self._entry.session[:8]} at the {self._entry.end.value} {'open' if self._open else 'closed'}>"

    async def open(self, runs: bool) -> None:
        """
        Begin it, for a guest that is to run in the end, or not.

        :raise NotMigratable: this QEMU has one already.
        """
        if not self._presence.acquire():
            raise NotMigratable(f"{self._monitor.name}: session {self._entry.session[:8]} already exists")
        self._open = True
        self._entry = evolve(self._entry, runs=runs)
        try:
            await self._monitor.execute("object-add", {"qom-type": "secret", "id": JOURNAL, "data": self._entry.text()})
        except CommandFailed as error:
            self._open = False
            raise NotMigratable(f"{self._monitor.name}: another nbdtun has just started to migrate it ({error})") from error

    async def note(self, **changes: Any) -> None:
        """Write down what is about to be done: attributes of :class:`Entry`."""
        self._entry = evolve(self._entry, **changes)
        await self._monitor.execute("qom-set", {"path": PATH, "property": "data", "value": self._entry.text()})

    async def memory_begins(self, runs: bool) -> None:
        """The memory is about to be sent, or waited for."""
        await self.note(began=self._uptime(), runs=runs)

    async def switchover_begins(self, runs: bool) -> None:
        """The last of the memory is about to be sent; ``runs`` is what holds when the guest stands still."""
        await self.note(switched=self._uptime(), runs=runs)

    async def remember(self, capabilities: Mapping[str, bool], parameters: Mapping[str, Any]) -> None:
        """These capabilities and parameters are about to be changed, and were this before."""
        before = {**parameters, **self._entry.parameters}
        await self.note(capabilities={**capabilities, **self._entry.capabilities}, parameters=before)

    async def close(self) -> None:
        """All is done or undone; safe to repeat."""
        if self._open:
            self._open = False
            await erase(self._monitor)
        self.leave()

    def leave(self) -> None:
        """What is written down stays, for somebody else to undo."""
        self._presence.release()
