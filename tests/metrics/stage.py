"""What Prometheus reads of families, and what it gets from a socket."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.threads import deferToThread

from nbdtun.metrics.families import Asked
from nbdtun.migration.destination.life import State
from nbdtun.migration.tally import Tally


def read(families: Iterable[Metric]) -> dict[str, float]:
    """Each sample, as it stands in the text: ``nbdtun_channels{target="nbd"}`` and its value."""
    kept = [*families]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Asked(lambda: kept))
    return parsed(generate_latest(registry).decode())


def parsed(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            words = ",".join(f'{key}="{value}"' for key, value in labels.items())
            assert f"{name}{{{words}}}" not in found, "twice"
            found[f"{name}{{{words}}}" if words else name] = value
    return found


async def fetch(path: Path, page: str, *more: str) -> tuple[int, str, str]:
    """Ask over a UNIX socket, as ``curl`` does; the status, the kind and the content."""
    words = ["curl", "-s", "--max-time", "5", "--unix-socket", f"{path}", "-w", "\n%{http_code} %{content_type}", *more]
    done = await deferToThread(subprocess.run, [*words, f"http://localhost{page}"], capture_output=True, text=True)
    content, _, last = done.stdout.rpartition("\n")
    status, _, kind = last.partition(" ")
    return int(status), kind, content


def service(*states: State, libvirt: Any = None) -> Any:
    """A destination's, with VMs in these states."""
    busy = {f"web{number}": SimpleNamespace(session=SimpleNamespace(state=state)) for number, state in enumerate(states)}
    return SimpleNamespace(sessions=SimpleNamespace(register=SimpleNamespace(busy=busy, tally=Tally())), arrivals=libvirt)
