"""The VMs of this host, what migrates them, and whether destinations have them: for `nbdtun vms`. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from nbdtun.config.names import check_name
from nbdtun.config.values import PLACE
from nbdtun.errors import NbdtunError
from nbdtun.evacuation.terms import Terms
from nbdtun.migration.qmp.dial import is_served
from nbdtun.process import Reactor
from nbdtun.service.control.client import reports
from nbdtun.service.evacuation.places import Places
from nbdtun.service.evacuation.survey import Seen, look, survey
from nbdtun.service.evacuation.whereabouts import Whereabouts
from nbdtun.service.local.base import base_of


@frozen
class There:
    """A VM at a destination: its run ``state``, empty if it has no guest there; or what was ``wrong`` with the question."""

    state: str = ""
    wrong: NbdtunError | None = None


@frozen
class Row:
    """A VM: as it was ``seen`` here, the report of the ``migration`` that is under way here, and how it is ``there``, by destination."""

    seen: Seen
    migration: Mapping[str, Any] | None = None
    there: Mapping[str, There] = field(factory=dict)

    def as_json(self) -> dict[str, Any]:
        """A part of the object that ``nbdtun vms --json`` prints."""
        seen, migration = self.seen, self.migration
        under_way = None if migration is None else {name: migration.get(name) for name in ("pid", "to", "progress")}
        return {
            "vm": seen.vm,
            "place": seen.place,
            "state": seen.state or None,
            "memory": seen.memory,
            "disks": seen.disks,
            **_told(seen.wrong),
            "migration": under_way,
            "at": {to: {"state": there.state or None, **_told(there.wrong)} for to, there in self.there.items()},
        }


def _told(wrong: NbdtunError | None) -> dict[str, str | None]:
    if wrong is None:
        return {"error": None, "code": None, "remedy": None}
    return {"error": str(wrong), "code": wrong.code, "remedy": wrong.remedy or None}


async def listing(reactor: Reactor, terms: Terms, names: Sequence[str] = ()) -> list[Row]:
    """
    All VMs here that the terms are for; or those of these ``names``, whether they are here or not. Each is asked for at the destinations.

    The monitor of a VM that is being migrated is not touched.

    :raise NbdtunError: libvirt cannot be asked, or a name or an option is not valid.
    """
    places = Places(terms)
    busy = [each for each in await reports(reactor, base_of(places.run_dir)) if each.get("kind") == "migration"]
    seen = [await _seen(reactor, terms, check_name(name), busy) for name in names] if names else await survey(reactor, terms)
    far = Whereabouts(reactor, places)
    return [Row(each, _migration(each, busy), {to: await _there(far, each, to) for to in terms.to}) for each in seen]


async def _seen(reactor: Reactor, terms: Terms, vm: str, busy: Sequence[Mapping[str, Any]]) -> Seen:
    if terms.libvirt:
        found = [each for each in await survey(reactor, terms) if each.vm == vm]
        return found[0] if found else Seen(vm, "")
    nobody = Seen(vm, terms.qmp.replace(PLACE, vm))
    if not is_served(nobody.place) or _migration(nobody, busy) is not None:
        return nobody
    return await look(reactor, vm, nobody.place)


def _migration(seen: Seen, busy: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The migration of this VM that is under way, if there is one."""
    own = (each for each in busy if each.get("name") == seen.vm and Path(each.get("qmp", seen.place)) == Path(seen.place))
    return next(own, None)


async def _there(far: Whereabouts, seen: Seen, to: str) -> There:
    try:
        return There(await far.state(seen.vm, seen.place, to))
    except NbdtunError as error:
        return There(wrong=error)
