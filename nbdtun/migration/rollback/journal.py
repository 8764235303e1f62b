"""
A record of what a migration has done with a QEMU, kept in that QEMU: after a ``kill -9``, the next process reads it and undoes the work.

QEMU keeps named pieces of text for its clients, its ``secret`` objects. One of them, with a fixed name, is a better place than a file:
it lives exactly as long as the QEMU that it describes, and every monitor of that QEMU shows it. QEMU refuses a name that is taken, so it
is a lock as well. Each change is written *before* the step that it describes.

The next process may be of another release. So an entry has the versions whose readers understand it, and the features that they must have
to undo it. A reader passes over names that it does not know, and a name that is missing has its default.

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

from attrs import Attribute, asdict, evolve, field, fields, frozen, validators

from nbdtun.errors import CommandFailed, NotMigratable, VersionMismatch
from nbdtun.migration.bond import Bond
from nbdtun.migration.ids import JOURNAL, SESSION
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.presence import Presence, identity, is_present
from nbdtun.versions import Speaks

PATH = f"/objects/{JOURNAL}"
#: What this release writes, and understands.
FORMAT = Speaks("the journal")
#: The form of a secret, and of its proof.
SECRET = r"([0-9a-f]{64})?\Z"
#: The form of a process's identity.
PROCESS = r"(\d{1,20} \d{1,10} \d{1,20})?\Z"
_NUMBER = validators.optional(validators.instance_of((int, float)))


class End(enum.StrEnum):
    """Which end of a migration the QEMU is."""

    SOURCE = "source"
    DESTINATION = "destination"


@frozen(kw_only=True)
class Entry:
    """
    The contents of a journal.

    ``pid`` is the process that works on the session, ``process`` tells it from all others (see ``presence``); ``runs``: the guest is to
    run in the end. ``began`` is when the source began to send the memory (the destination: to wait for it), ``switched`` when the source
    began to send the last of it, in seconds since the host's boot; None before. Once ``handed_over``, the guest may run at the
    destination. ``forced``: the source has paused a guest that is to run on. ``capabilities`` and ``parameters`` are QEMU's earlier ones.
    ``secret`` is the session's, in hexadecimal, at the source; ``owner`` and ``proof`` are its bond, at the destination.
    """

    session: str = field(validator=validators.matches_re(SESSION))
    end: End = field(converter=End)
    pid: int = field(validator=validators.instance_of(int))
    runs: bool = field(validator=validators.instance_of(bool))
    began: float | None = field(default=None, validator=_NUMBER)
    switched: float | None = field(default=None, validator=_NUMBER)
    handed_over: bool = field(default=False, validator=validators.instance_of(bool))
    forced: bool = field(default=False, validator=validators.instance_of(bool))
    capabilities: Mapping[str, bool] = field(factory=dict, validator=validators.instance_of(dict))
    parameters: Mapping[str, Any] = field(factory=dict, validator=validators.instance_of(dict))
    process: str = field(default="", validator=validators.matches_re(PROCESS))
    secret: str = field(default="", validator=validators.matches_re(SECRET), repr=False)
    owner: str = field(default="", validator=validators.instance_of(str))
    proof: str = field(default="", validator=validators.matches_re(SECRET), repr=False)

    @classmethod
    def parse(cls, text: str) -> Entry:
        """
        The reverse of :meth:`text`.

        :raise ValueError: it is not an entry.
        :raise VersionMismatch: it is one of another release, which this one does not understand.
        """
        try:
            told = json.loads(text)
            FORMAT.understand(told)
            return cls(**{one.name: told[one.name] for one in fields(cls) if one.name in told})
        except (TypeError, ValueError, RecursionError) as error:
            wrong = next((f"its {part.name} is malformed" for part in error.args if isinstance(part, Attribute)), error.args[0])
            raise ValueError(f"not a journal entry: {wrong}") from None  # attrs quotes the value, which may be a secret

    def text(self) -> str:
        """JSON, for a later process."""
        return json.dumps(FORMAT.document() | asdict(self))

    @property
    def name(self) -> str:
        """
        The name that its process holds while it lives.

        Every user can see it, so it does not contain the session's id; and take it afterwards, so the session's next process has another.
        """
        return f"nbdtun-{self.end.value}-{sha256(f'{self.session} {self.process}'.encode()).hexdigest()[:32]}"

    @property
    def bond(self) -> Bond:
        """What binds the session to its source, at the destination."""
        return Bond(self.owner, self.proof)

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return is_present(self.name, self.process)


async def read(monitor: Monitor) -> Entry | None:
    """
    The entry in this QEMU; None if there is none.

    :raise NotMigratable: it cannot be parsed.
    """
    try:
        text = await monitor.execute("qom-get", {"path": PATH, "property": "data"})
    except CommandFailed:
        return None
    try:
        return Entry.parse(text)
    except (ValueError, VersionMismatch) as error:
        why = f"{monitor.name}: another version of nbdtun was migrating it ({error})"
        raise NotMigratable(f"{why}; let that version end it, or `object-del {JOURNAL}` if that migration is long gone") from error


async def erase(monitor: Monitor) -> None:
    """Remove the journal from QEMU."""
    await monitor.execute("object-del", {"id": JOURNAL})


class Journal:
    """The journal of ``session``, kept in the QEMU behind ``monitor`` while it is open."""

    def __init__(
        self,
        monitor: Monitor,
        end: End,
        session: str,
        uptime: Callable[[], float] = monotonic,
        *,
        secret: bytes = b"",
        bond: Bond | None = None,
    ) -> None:
        self._monitor = monitor
        self._uptime = uptime
        entry = Entry(session=session, end=end, pid=os.getpid(), runs=False, process=identity(os.getpid()))
        bond = bond or Bond()
        self._entry = evolve(entry, secret=secret.hex(), owner=bond.owner, proof=bond.proof)
        self._presence = Presence(self._entry.name)
        self._open = False

    def __repr__(self) -> str:
        return f"<Journal {self._entry.session[:8]} at the {self._entry.end.value} {'open' if self._open else 'closed'}>"

    async def open(self, runs: bool) -> None:
        """
        Create it; ``runs``: the guest is to run in the end.

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
        """Record the next step, as attributes of :class:`Entry`."""
        self._entry = evolve(self._entry, **changes)
        await self._monitor.execute("qom-set", {"path": PATH, "property": "data", "value": self._entry.text()})

    async def memory_begins(self, runs: bool) -> None:
        """Record that the memory is about to be sent, or waited for."""
        await self.note(began=self._uptime(), runs=runs)

    async def switchover_begins(self, runs: bool) -> None:
        """Record that the last of the memory is about to be sent; ``runs`` is final now, as the guest is paused."""
        await self.note(switched=self._uptime(), runs=runs)

    async def remember(self, capabilities: Mapping[str, bool], parameters: Mapping[str, Any]) -> None:
        """Record the present values of capabilities and parameters that are about to be changed."""
        before = {**parameters, **self._entry.parameters}
        await self.note(capabilities={**capabilities, **self._entry.capabilities}, parameters=before)

    async def close(self) -> None:
        """Erase it, as everything is done or undone; safe to repeat."""
        if self._open:
            self._open = False
            await erase(self._monitor)
        self.abandon()

    def abandon(self) -> None:
        """Leave the entry in QEMU, for a later process to undo."""
        self._presence.release()
