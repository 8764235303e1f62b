"""
The table: what becomes of a migration that a fault meets in a phase.

Data, and nothing else: the tests hold the product to it, and `docs/matrix.rst` is made of it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

PHASES = (
    "prepare",
    "mirror",
    "ready",
    "ram",
    "holding",
    "pre-switchover",
    "switchover",
    "yank",
    "handover",
    "retire",
    "finish",
    "settle",
    "confirm",
)


class End(enum.Enum):
    """Where the VM is when `nbdtun migrate` has ended, and the fault is mended."""

    MOVES = "moves"
    STAYS = "stays"
    LEFT = "left"
    GONE = "gone"
    PAUSED = "paused"
    LOST = "lost"


@dataclass(frozen=True)
class Outcome:
    """`says` is in the last line of its messages; `fresh`: the destination's QEMU has ended, and another one is needed."""

    end: End
    status: int
    says: str = ""
    fresh: bool = False
    later: bool = False
    """Something of ours is left, which the next attempt takes away."""
    hand: str = ""
    """What an operator has to do, where nothing else helps."""


@dataclass(frozen=True)
class Never:
    """A cell that does not exist, and why."""

    why: str


Cell = Outcome | Never


@dataclass(frozen=True)
class Row:
    """A fault as the table tells it; one cell for each phase."""

    title: str
    cells: tuple[Cell, ...]


def stays(says: str, status: int = 1, later: bool = False) -> Outcome:
    return Outcome(End.STAYS, status, says, later=later)


def afresh(says: str, status: int = 1, later: bool = False) -> Outcome:
    """It stays, and the next attempt takes a fresh QEMU at the destination."""
    return Outcome(End.STAYS, status, says, fresh=True, later=later)


def gone(says: str, fresh: bool = True) -> Outcome:
    return Outcome(End.GONE, 1, says, fresh)


def left(says: str) -> Outcome:
    """Nothing could be undone; the next attempt does that first, and moves it."""
    return Outcome(End.LEFT, 1, says)


def paused(says: str, hand: str = "") -> Outcome:
    return Outcome(End.PAUSED, 3, says, hand=hand)


def lost(says: str) -> Outcome:
    """The guest has died at the destination, and goes on at the source when an operator says so."""
    return Outcome(End.LOST, 4, says, hand="cont")


MOVES = Outcome(End.MOVES, 0)
KILLED = Outcome(End.LEFT, -9)
KILLED_LATE = Outcome(End.LEFT, -9, hand="--resolve")
TOO_LATE = Outcome(End.MOVES, 0, "too late to interrupt")
KEPT = Outcome(End.MOVES, 0, "could not end the source QEMU, which is paused", hand="quit")
QUIT_THERE = Outcome(End.STAYS, 1, "has not answered", fresh=True, hand="quit there")
BEFORE = Never("the fault is there from the beginning")
STILL = Never("the guest stands still, and nothing is written")
REPORTED = Never("QEMU reports it to the guest, which decides")
ENDED = Never("it runs at the destination already")

INTERRUPTED = stays("interrupted", 130)
INTERRUPTED_LATER = afresh("interrupted", 130)

_OTHERS: Mapping[str, Row] = {
    "interrupt": Row(
        "Ctrl-C to ``nbdtun migrate``",
        (INTERRUPTED, INTERRUPTED, *(INTERRUPTED_LATER,) * 5, *(TOO_LATE,) * 3),
    ),
    "terminate": Row(
        "SIGTERM to ``nbdtun migrate``",
        (INTERRUPTED, INTERRUPTED, *(INTERRUPTED_LATER,) * 5, *(TOO_LATE,) * 3),
    ),
    "kill": Row("``kill -9`` of ``nbdtun migrate``", (*(KILLED,) * 7, *(KILLED_LATE,) * 3)),
    "daemon-restart": Row(
        "SIGTERM to ``nbdtun-dest``, which is started again when it has ended",
        (stays("the destination's daemon is shutting down"), *(MOVES,) * 9),
    ),
    "daemon-terminate": Row(
        "SIGTERM to ``nbdtun-dest``, twice; it is started again",
        (
            stays("the destination's daemon is shutting down"),
            MOVES,
            *(afresh("the destination's daemon was stopped"),) * 5,
            MOVES,
            MOVES,
            MOVES,
        ),
    ),
    "daemon-kill": Row(
        "``kill -9`` of ``nbdtun-dest``, which is started again",
        (
            stays("was its daemon restarted?"),
            MOVES,
            stays("was its daemon restarted?", later=True),
            *(afresh("was its daemon restarted?"),) * 3,
            Outcome(End.STAYS, 1, "was its daemon restarted?", fresh=True, hand="quit there"),
            paused("The source stays paused"),
            MOVES,
            MOVES,
        ),
    ),
    "source-killed": Row(
        "The source's QEMU is killed",
        (gone("QEMU closed its monitor", False),) * 2 + (gone("QEMU closed its monitor"),) * 5 + (MOVES,) * 3,
    ),
    "source-stopped": Row(
        "The source's QEMU is stopped (SIGSTOP), and continued later",
        (stays("has not answered"), stays("has not answered", later=True), *(left("has not answered"),) * 5, KEPT, KEPT, KEPT),
    ),
    "source-monitor": Row(
        "The source's monitor is closed", (stays("closed its monitor"),) * 2 + (afresh("closed its monitor"),) * 5 + (MOVES,) * 3
    ),
    "destination-killed": Row(
        "The destination's QEMU is killed",
        # The sixth and seventh: whoever connects to the gate before its monitor is not refused, but hung up on, if that comes first.
        (afresh("at the destination: QEMU closed its monitor"),) * 5
        + (*(afresh("at the destination: "),) * 2, paused("The source stays paused", "cont"), lost("its QEMU has ended"), ENDED),
    ),
    "destination-stopped": Row(
        "The destination's QEMU is stopped (SIGSTOP), and continued later",
        (
            stays("has not answered", later=True),
            stays("has not answered", later=True),
            QUIT_THERE,
            *(afresh("has not answered"),) * 3,
            QUIT_THERE,
            paused("The source stays paused"),
            paused("The source stays paused"),
            ENDED,
        ),
    ),
    "destination-monitor": Row(
        "The destination's monitor is closed",
        (stays("at the destination: QEMU closed its monitor"),) * 2
        + (afresh("at the destination: QEMU closed its monitor"),) * 5
        + (MOVES,) * 3,
    ),
    "disk-full": Row(
        "The destination's disk is full",
        (
            stays("No space left on device"),
            stays("No space left on device"),
            afresh("No space left on device"),
            afresh("No space left on device"),
        )
        + (STILL,) * 4
        + (lost("a disk has failed or is full"), ENDED),
    ),
    "disk-error": Row(
        "The destination's disk fails with an I/O error",
        (stays("Input/output error"), stays("Input/output error"), afresh("Input/output error"), afresh("Input/output error"))
        + (STILL,) * 4
        + (REPORTED, ENDED),
    ),
    "disk-read-only": Row("The destination's disk is read-only", (stays("read-only"),) + (BEFORE,) * 9),
    "guest-off": Row(
        "The guest shuts down, and its QEMU ends",
        (gone("the guest has shut down", False),) * 2 + (gone("the guest has shut down"),) * 2 + (STILL,) * 4 + (ENDED,) * 2,
    ),
    "guest-off-kept": Row(
        "The guest shuts down, and its QEMU stays (``-no-shutdown``)",
        (stays("the guest has shut down"),) * 2 + (afresh("the guest has shut down"),) * 2 + (STILL,) * 4 + (ENDED,) * 2,
    ),
    "guest-reset": Row("The guest is reset", (MOVES,) * 4 + (STILL,) * 4 + (ENDED,) * 2),
    "source-resized": Row(
        "Another tool resizes the source's disk",
        # The seventh: QEMU aborts, as its image is not active any more.
        (stays("Source and target image have different sizes"), *(MOVES,) * 5, gone("QEMU closed its monitor"), *(MOVES,) * 3),
    ),
    "destination-resized": Row(
        "Another tool resizes the destination's disk",
        (afresh("at the destination: QEMU closed its monitor"), *(MOVES,) * 9),  # QEMU aborts: an image that is not active yet
    ),
    "source-monitor-taken": Row("Another client connects to the source's monitor", (MOVES,) * 10),
    "destination-monitor-taken": Row("Another client connects to the destination's monitor", (MOVES,) * 10),
    "cut": Row(
        "The network is away for longer than the resume window",
        (stays("no new link"), stays("in the tunnel: "))
        + (afresh("no new link"),) * 5
        + (paused("The source stays paused"), paused("The source stays paused"), MOVES),
    ),
}

_LIKE = {"holding": "ram", "yank": "handover", "retire": "finish"}
"""Phases in which a fault has the same end as in another one, but for those of `_RETIRE`.

A migration that is held has sent a part of its memory, as in `ram`. Before the yank and behind it, all of the memory is there, and the
handover is not recorded. Once FINISH has left, only the destination can tell."""

_RETIRE: Mapping[str, Cell] = {
    "destination-killed": afresh("at the destination: QEMU closed its monitor"),
    "destination-stopped": QUIT_THERE,
    "destination-monitor": afresh("at the destination: QEMU closed its monitor"),
}
"""The destination knows that it has not let the guest run, and the source takes its word for that."""


def _whole(name: str, row: Row) -> Row:
    """With a cell for each phase."""
    cells = dict(zip((phase for phase in PHASES if phase not in _LIKE), row.cells, strict=True))
    cells |= {phase: cells[like] for phase, like in _LIKE.items()}
    if name in _RETIRE:
        cells["retire"] = _RETIRE[name]
    return Row(row.title, tuple(cells[phase] for phase in PHASES))


TABLE: Mapping[str, Row] = {name: _whole(name, row) for name, row in _OTHERS.items()}

QUICK = frozenset(
    {
        ("kill", "mirror"),
        ("daemon-restart", "ram"),
        ("daemon-terminate", "ready"),
        ("source-monitor", "pre-switchover"),
        ("destination-killed", "switchover"),
        ("disk-full", "mirror"),
        ("guest-off-kept", "ram"),
        ("kill", "yank"),
        ("kill", "handover"),
        ("destination-killed", "retire"),
        ("daemon-kill", "finish"),
        ("destination-stopped", "finish"),
        ("destination-killed", "settle"),
    }
)
"""The cells that `make test` runs; `make chaos` runs all."""
