"""A code on the telephone: `nbdtun receive` at one host, `nbdtun migrate --code` at the other, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lab.crossing import VM, Attempt
from lab.daemon import BIN, free_port
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import Process, wait


class Receiving(Process):
    """`nbdtun receive`, which has printed its code."""

    def __init__(self, directory: Path, port: int, *more: str, name: str = "receive") -> None:
        words = [VM, "--listen", f"127.0.0.1:{port}", "--incoming", f"{directory}/dst.qmp", "--run-dir", f"{directory}/far", *more]
        super().__init__([f"{BIN}/nbdtun", "receive", *words], directory / f"{name}.log")
        wait(lambda: "the code is " in self.log(), 180, "the code", self)

    @property
    def code(self) -> str:
        return self.log().partition("the code is ")[2].partition(",")[0]


def migrate(directory: Path, port: int, code: str, number: int = 1) -> Attempt:
    words = [VM, "--qmp", f"{directory}/src.qmp", "--to", f"127.0.0.1:{port}", "--code", code]
    return Attempt(directory, *words, "--run-dir", f"{directory}/run", "--settle", "200ms", number=number)


def test_a_vm_moves_by_a_code(pairs: Callable[..., Pair], directory: Path) -> None:
    pair, port = pairs(Plan(32 * MIB), paused=True), free_port()
    with ExitStack() as held:
        wrong = held.enter_context(Receiving(directory, port, name="wrong"))
        code = "7-crossover-clockwork" if wrong.code != "7-crossover-clockwork" else "8-crossover-clockwork"
        refused = held.enter_context(migrate(directory, port, code, 1))
        assert refused.wait_exit(180) == wrong.wait_exit(180) == 1
        assert refused.complaints() == ["nbdtun: the code is wrong; the destination's offer has ended: let it make another code"]
        assert wrong.log().splitlines()[1:] == [
            "nbdtun: a source came with a wrong code; the offer has ended; run `nbdtun receive` again for another code [wrong-code]"
        ]
        assert pair.source.leftovers() == pair.destination.leftovers() == []

        receiving = held.enter_context(Receiving(directory, port))
        attempt = held.enter_context(migrate(directory, port, receiving.code.upper(), 2))
        assert attempt.wait_exit(300) == 0, attempt.log()
        assert receiving.wait_exit(180) == 0, receiving.log()
        assert receiving.log().splitlines()[1].startswith(f"nbdtun: {VM}: the source has come with the code")
        pair.source.wait_exit()
        assert pair.destination.status() == "prelaunch"  # as it was at the source
        assert [path for end in ("run", "far") for path in (directory / end).rglob("*")] == []
