"""One cell of the matrix: a pair, a way over with a cable, a gate before each monitor, and a migration that has come to a phase."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from lab.crossing import VM, Attempt, Crossing
from lab.gate import Gate
from lab.pair import Pair
from lab.process import wait
from tests.integration.matrix.phases import SLOW, UNDER_WAY, Phase


class Cell:
    """What a fault may strike at, and what the verdict looks at; ended with `ended`."""

    attempt: Attempt
    moves = True
    """Whether the migration is to go on from where it was struck."""

    def __init__(self, pair: Pair, tls: Path, phase: Phase, options: tuple[str, ...], ended: ExitStack) -> None:
        self.pair, self.phase, self.ended = pair, phase, ended
        held = phase.held
        self.gates = {
            vm.name: ended.enter_context(
                Gate(pair.directory / f"{vm.name}.gate", vm.qmp_path, *((held.command, held.nth) if held and held.end == end else ("",)))
            )
            for end, vm in (("source", pair.source), ("destination", pair.destination))
        }
        ways = (self.gates["src"].path, self.gates["dst"].path)
        self.crossing = ended.enter_context(Crossing(pair, tls, cable=True, qmp=ways, options=options, settle=phase.settle))

    @property
    def gate(self) -> Gate | None:
        """The one that holds the phase up."""
        if self.phase.held is None:
            return None
        return self.gates["src" if self.phase.held.end == "source" else "dst"]

    def begin(self) -> None:
        """Begin the migration."""
        if self.phase.slow and self.gate is None:
            self.crossing.cable.slow(SLOW)
        self.attempt = self.crossing.migrate(*(["--hold"] if self.phase.held_back else []))

    def reach(self) -> None:
        """Come to the middle of the phase."""
        cable = self.crossing.cable
        if self.gate is not None:
            self.gate.wait_held()
        if self.phase.logged:
            daemon = self.crossing.daemon
            wait(lambda: re.search(self.phase.logged, daemon.log()) is not None, 30, self.phase.logged, daemon)
        if self.phase.slow:
            cable.slow(SLOW)
            self.open()
            self.attempt.wait_phase(self.phase.word)
            cable.wait_bytes(UNDER_WAY)
        if self.phase.settle != "200ms" or self.phase.held_back:
            self.attempt.wait_phase(self.phase.word)
        wait(lambda: self.attempt.last["phase"] == self.phase.word, 5, self.phase.word, self.attempt)

    def open(self) -> None:
        """Hold nothing up any more, and from now on nothing again."""
        for gate in self.gates.values():
            gate.open()
        if self.phase.held_back and self.moves:
            self.crossing.command("set", VM, "--switchover", "now")

    def again(self) -> Attempt:
        """A second migration."""
        return self.crossing.migrate()
