"""
How long a migration may last, and when it counts as stalled: rules without I/O.

Time limits hold for a phase, or for the whole up to the switchover. What lasts as long as the data does (disks, memory) has none unless
it is asked for; what is a few commands has one always. The last phase has none: once the destination was told to take over, there is
nothing left that could be ended.

A migration is stalled when no byte moves although the link is up. While the link is lost the resume window counts, not this. A guest
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

#: Seconds that each phase may last, None for as long as it takes. A phase that is not here has no limit that could be set.
DEFAULTS: Final[Mapping[Phase, float | None]] = MappingProxyType(
    {Phase.PREPARE: 300.0, Phase.MIRROR: None, Phase.READY: 300.0, Phase.RAM: None, Phase.SWITCHOVER: 120.0}
)

#: Where a paused guest helps: whatever is left gets less from then on.
COPYING: Final = (Phase.MIRROR, Phase.RAM)


class OnTimeout(enum.Enum):
    """What a time limit does while disks or memory are copied; at any other time it cancels."""

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

    ``phases`` has those that are not the default; ``total`` is that of all phases together, up to the end of the switchover.
    ``stall`` is how long no byte may move.

    :raise ConfigError: a limit is not more than 0, or of a phase that can have none.
    """

    phases: Mapping[Phase, float | None] = field(factory=dict, converter=_complete)
    total: float | None = field(default=None, validator=positive("{} timeout"))
    stall: float | None = field(default=300.0, validator=positive("{} timeout"))
    on_timeout: OnTimeout = OnTimeout.CANCEL

    def limit(self, phase: Phase) -> float | None:
        """Seconds that ``phase`` may last."""
        return self.phases.get(phase)
