"""
How long a migration may last, and when it counts as stalled: rules without I/O.

Time limits apply to a phase, or to the whole up to the switchover. Phases that last as long as the data does (disks, memory) have none
unless it is asked for; phases of a few commands always have one. A migration that is held lasts as long as its operator wants, and that
time does not count for the whole. The last phase has none: once the destination has the order to take
over, nothing is left that could be ended.

A migration is stalled when no byte moves although the link is up. While the link is lost, the resume window counts instead. A guest
that writes faster than the link makes bytes move: that is no stall, and only a time limit ends it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Phase
from nbdtun.validators import positive

#: Seconds that each phase may last, None for as long as it takes. A phase that is not here cannot have a limit.
DEFAULTS: Final[Mapping[Phase, float | None]] = MappingProxyType(
    {
        Phase.PREPARE: 300.0,
        Phase.MIRROR: None,
        Phase.READY: 300.0,
        Phase.HOLDING: None,
        Phase.RAM: None,
        Phase.SWITCHOVER: 120.0,
    }
)

#: Phases in which a paused guest helps: what is left only shrinks from then on.
COPYING: Final = (Phase.MIRROR, Phase.RAM)


class OnTimeout(enum.Enum):
    """The effect of a time limit while disks or memory are copied; at any other time it cancels."""

    CANCEL = "cancel"
    FORCE = "force"


def _complete(given: Mapping[Phase, float | None]) -> Mapping[Phase, float | None]:
    for phase, seconds in given.items():
        if phase not in DEFAULTS:
            raise ConfigError(f"phase {phase.value} cannot have a time limit; use one of {', '.join(known.value for known in DEFAULTS)}")
        if seconds is not None and seconds <= 0:
            raise ConfigError(f"the timeout of phase {phase.value} must be more than 0, not {seconds:g}")
    return MappingProxyType({**DEFAULTS, **given})


@frozen(kw_only=True)
class Timeouts:
    """
    Time limits in seconds, None for none.

    ``phases`` has those that are not the default; ``total`` is the limit of all phases together, up to the end of the switchover.
    ``stall`` is how long it may be that no byte moves.

    :raise ConfigError: a limit is not more than 0, or its phase can have none.
    """

    phases: Mapping[Phase, float | None] = field(factory=dict, converter=_complete)
    total: float | None = field(default=None, validator=positive("{} timeout"))
    stall: float | None = field(default=300.0, validator=positive("{} timeout"))
    on_timeout: OnTimeout = OnTimeout.CANCEL

    def limit(self, phase: Phase) -> float | None:
        """Seconds that ``phase`` may last."""
        return self.phases.get(phase)
