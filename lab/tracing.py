"""What the line carries while a host is emptied, second by second, beside what the VMs do: to see where it is idle, and why."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.fleet import Fleet

PAUSE = 1.0
"""Seconds between two lines."""


@contextmanager
def traced(fleet: Fleet, wanted: bool = True) -> Iterator[None]:
    """Print a line each second: the bytes that have passed, the processors' idle time, and the VMs in each state and phase."""
    if not wanted:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_trace, args=(fleet, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _trace(fleet: Fleet, over: threading.Event) -> None:
    began = then = time.monotonic()
    passed, idle = _passed(fleet), _idle()
    while not over.wait(PAUSE):
        now, new, rest = time.monotonic(), _passed(fleet), _idle()
        rate, free = (new - passed) / (now - then), (rest - idle) / (now - then)
        print(f"  {now - began:6.1f} s {rate / 1e6:6.1f} MB/s, {free:4.2f} processors idle: {_doing(fleet)}", flush=True)
        then, passed, idle = now, new, rest


def _passed(fleet: Fleet) -> int:
    assert fleet.cable is not None
    return fleet.cable.counters().up


def _idle() -> float:
    """Seconds for which processors have been idle, all together."""
    return int(Path("/proc/stat").read_text().split()[4]) / 100


def _doing(fleet: Fleet) -> str:
    run = fleet.runs[-1] if fleet.runs else None
    overviews = run.overviews() if run else []
    if not overviews or run is None:
        return "no plan yet"
    overview = overviews[-1]
    found = Counter(f"{vm['state']} ({vm['phase']})" if "phase" in vm else vm["state"] for vm in overview["vms"])
    late = f"seen {time.time() - overview['time']:.1f} s ago"
    return ", ".join([*(f"{count} {what}" for what, count in sorted(found.items())), late, *["no engine"] * (not run.running())])
