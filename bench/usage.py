"""What a process and its children have used, from `/proc`.

An end of a tunnel may be several processes: socat forks for each connection, sshd
for each session. Those that live are added up; what the dead have used, their
parent has on its account once it has waited for them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """Of `/proc/PID/stat`: the parent, and the CPU time in clock ticks."""

    parent: int
    own: int
    """Of all its threads, dead ones too."""
    waited: int
    """Of the children that it has waited for, and theirs."""

    @classmethod
    def parse(cls, text: str) -> Stat:
        """The command in parentheses may hold anything, parentheses and blanks too."""
        words = text.rpartition(")")[2].split()
        utime, stime, cutime, cstime = map(int, words[11:15])
        return cls(int(words[1]), utime + stime, cutime + cstime)


def family(root: int, proc: Path = PROC) -> dict[int, Stat]:
    """A process and all that descend from it; empty if it is gone."""
    stats = dict(_stats(proc))
    children = defaultdict(list)
    for pid, stat in stats.items():
        children[stat.parent].append(pid)
    found, new = {}, [root] if root in stats else []
    while new:
        pid = new.pop()
        found[pid] = stats[pid]
        new += children[pid]
    return found


def _stats(proc: Path) -> list[tuple[int, Stat]]:
    found = []
    for entry in proc.glob("[0-9]*"):
        try:
            found.append((int(entry.name), Stat.parse((entry / "stat").read_text())))
        except OSError:
            continue  # gone meanwhile
    return found


def cpu_seconds(root: int, proc: Path = PROC) -> float:
    """CPU seconds that a process and its descendants have used, to a clock tick."""
    return sum(stat.own + stat.waited for stat in family(root, proc).values()) / _TICKS


def peak_rss(root: int, proc: Path = PROC) -> int:
    """Bytes of memory that a process and its living descendants have held at most, each by itself; pages that they share count for each."""
    return sum(_field(proc / f"{pid}", "VmHWM") * 1024 for pid in family(root, proc))


def rss(root: int, proc: Path = PROC) -> int:
    """Bytes of memory that they hold now."""
    return sum(_field(proc / f"{pid}", "VmRSS") * 1024 for pid in family(root, proc))


def wakeups(root: int, proc: Path = PROC) -> int:
    """How often their threads have gone to sleep of their own accord, and so were woken up again."""
    threads = (thread for pid in family(root, proc) for thread in (proc / f"{pid}/task").glob("[0-9]*"))
    return sum(_field(thread, "voluntary_ctxt_switches") for thread in threads)


def _field(process: Path, name: str) -> int:
    """A number of `status`; 0 where there is none: a process that is gone, or a zombie's memory."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
