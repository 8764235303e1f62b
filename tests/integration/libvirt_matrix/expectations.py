"""The table of libvirt's VMs; data, and nothing else. `docs/matrix.rst` is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.integration.matrix.expectations import End, Outcome, Row

PHASES: Final = ("prepare", "mirror", "ram", "handover", "arrival")


def stays(says: str, status: int = 1, later: bool = False) -> Outcome:
    return Outcome(End.STAYS, status, says, later=later)


MOVES: Final = Outcome(End.MOVES, 0)
INTERRUPTED: Final = stays("interrupted", 130)
TOO_LATE: Final = Outcome(End.MOVES, 0, "too late to interrupt")
KILLED: Final = stays("", -9)
KILLED_LATE: Final = Outcome(End.MOVES, -9)
UNKNOWN: Final = Outcome(End.PAUSED, 3, "use --resolve", hand="--resolve")
DOUBTFUL: Final = Outcome(End.PAUSED, 3, "use --resolve", hand="kill")

TABLE: Final[Mapping[str, Row]] = {
    "interrupt": Row("Ctrl-C to ``nbdtun migrate``", (*(INTERRUPTED,) * 3, *(TOO_LATE,) * 2)),
    "terminate": Row("SIGTERM to ``nbdtun migrate``", (*(INTERRUPTED,) * 3, *(TOO_LATE,) * 2)),
    "kill": Row("``kill -9`` of ``nbdtun migrate``", (*(KILLED,) * 3, *(KILLED_LATE,) * 2)),
    "daemon-restart": Row("SIGTERM to ``nbdtun dest``, which is started again when it has ended", (MOVES,) * 5),
    "daemon-terminate": Row("SIGTERM to ``nbdtun dest``, twice; it is started again", (*(stays("was stopped"),) * 3, MOVES, MOVES)),
    "daemon-kill": Row(
        "``kill -9`` of ``nbdtun dest``, which is started again", (*(stays("was its daemon restarted?"),) * 3, DOUBTFUL, MOVES)
    ),
    "daemon-gone": Row(
        "``kill -9`` of ``nbdtun dest``, which is started again when the migration has ended",
        (*(stays("the destination's daemon has ended"),) * 3, DOUBTFUL, UNKNOWN),
    ),
    "cut-5": Row("The network is away for 5 s", (MOVES,) * 5),
    "reject-45": Row("A firewall rejects all that goes over the network for 45 s", (MOVES,) * 5),
    "cut-45": Row("The network is away for 45 s", (MOVES,) * 5),
    "cut-290": Row("The network is away for 290 s", (MOVES,) * 5),
    "cut": Row("The network is away for longer than the resume window", (*(stays("no new link", later=True),) * 3, UNKNOWN, UNKNOWN)),
}

QUICK: Final = frozenset({("kill", "arrival")})
"""The cells that `make test` runs; `make chaos` runs all."""
