"""Where and when a VM is tried again, by the code of its error. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Final

from attrs import field, frozen

from nbdtun.evacuation.life import Trigger
from nbdtun.evacuation.values import Entry

#: The longest pause between two tries, in milliseconds.
LONGEST: Final = 15 * 60_000

#: A destination that fails so many VMs in a row gets no more.
STRIKES: Final = 3


class Sense(enum.Enum):
    """Where a second try makes sense."""

    HERE = "at the same destination"
    ELSEWHERE = "at another destination, or else at the same"
    ONLY_ELSEWHERE = "at another destination"
    NOWHERE = "nowhere"


#: Errors that are the VM's own, or the operator's.
_NOWHERE: Final = ("config", "not-migratable", "wrong-code", "guest-lost", "cancelled", "plan")
#: Errors of one destination that stay until somebody has changed something there.
_ONLY_ELSEWHERE: Final = ("tls", "not-allowed", "version", "vm-unknown", "disk-mismatch", "not-installed", "protocol", "target-unknown")
#: Errors of one destination that may pass.
_ELSEWHERE: Final = (
    *("unreachable", "host-unknown", "link-lost", "no-answer", "reach", "far-end-gone", "shutting-down", "destination"),
    *("target-unreachable", "too-many-channels", "too-many-arrivals"),
)

#: Errors of a monitor or a libvirt, here or there: the code does not tell, and the other destination has another one. They count against
#: no destination, and give no hope while the plan is made.
EITHER: Final = ("monitor", "monitor-lost", "libvirt")
#: Errors of this host.
_OURS: Final = ("hook", "killed")
#: A destination receives as many VMs as it may: that is no failure, and the VM waits.
FULL: Final = ("too-many-arrivals",)


@frozen
class Strikes:
    """The VMs that have failed at each destination since one has arrived there."""

    vms: Mapping[str, tuple[str, ...]] = field(factory=dict)

    def failed(self, to: str, vm: str) -> Strikes:
        """The same, once ``vm`` has failed at the destination ``to`` as well."""
        before = self.vms.get(to, ())
        return self if vm in before else Strikes({**self.vms, to: (*before, vm)})

    def arrived(self, to: str) -> Strikes:
        """The same, once a VM has arrived there."""
        return Strikes({host: vms for host, vms in self.vms.items() if host != to})

    @property
    def closed(self) -> frozenset[str]:
        """The destinations that get no more VMs."""
        return frozenset(host for host, vms in self.vms.items() if len(vms) >= STRIKES)


def sense(code: str) -> Sense:
    """Where a second try makes sense after an error of this ``code``."""
    kinds = ((_NOWHERE, Sense.NOWHERE), (_ONLY_ELSEWHERE, Sense.ONLY_ELSEWHERE), ((*_ELSEWHERE, *EITHER), Sense.ELSEWHERE))
    return next((kind for codes, kind in kinds if code in codes), Sense.HERE)


def is_the_destinations(code: str) -> bool:
    """Whether an error of this ``code`` may be the destination's fault."""
    return sense(code) is not Sense.NOWHERE and code not in (*_OURS, *EITHER, *FULL)


def pause(first: int, failures: int) -> int:
    """Milliseconds until the next try, after so many ``failures``."""
    return int(min(LONGEST, first * 2 ** min(failures - 1, 20)))


def after_failure(entry: Entry, now: int, *, retries: int, first: int, closed: Collection[str] = ()) -> Entry:
    """
    The entry of a VM that has failed by the error in it, and runs here: it waits for its next try, or it stays.

    ``closed`` are destinations that get no more VMs.
    """
    full = entry.code in FULL  # that was no try
    failures = entry.failures + (not full)
    to = _next(entry, closed) if failures <= retries or full else ""
    if not to:
        return entry.after(Trigger.GIVE_UP, failures=failures, ended=now)
    return entry.after(Trigger.FAIL, failures=failures, to=to, not_before=now + pause(first, 1 if full else failures))


def _next(entry: Entry, closed: Collection[str]) -> str:
    """The destination of the next try; empty if there is none."""
    kind = sense(entry.code)
    others = [to for to in _turned(entry.move.fits, entry.to) if to != entry.to and to not in closed]
    same = [entry.to] if entry.to not in closed else []
    order = {
        Sense.HERE: [*same, *others],
        Sense.ELSEWHERE: [*others, *same],
        Sense.ONLY_ELSEWHERE: others,
        Sense.NOWHERE: [],
    }[kind]
    return order[0] if order else ""


def _turned(fits: tuple[str, ...], to: str) -> tuple[str, ...]:
    """The destinations in their order, beginning behind ``to``."""
    at = fits.index(to) + 1 if to in fits else 0
    return fits[at:] + fits[:at]
