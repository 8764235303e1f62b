"""
The metrics of a daemon whose program was replaced: those of this process, with those of the processes before it.

Counters go on where they were. The gauges of an earlier process are added while it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import Metric

from nbdtun.metrics.families import PREFIX
from nbdtun.service.succession.generation import Generation

#: The gauges of which each process has a part; of the others, each has the whole.
ADDED: Final = frozenset(
    f"{PREFIX}{name}" for name in ("channels", "links", "window_used_bytes", "window_limit_bytes", "window_bytes", "migrations")
)

#: The gauges of which the largest counts.
LARGEST: Final = frozenset({f"{PREFIX}outage_age_seconds"})

#: A value's name and labels.
Key = tuple[str, tuple[tuple[str, str], ...]]


class Counted:
    """``families`` of a process, and of those before it among the programs of its daemon: it is the ``generation``."""

    def __init__(self, generation: Generation, *families: Callable[[], Iterable[Metric]]) -> None:
        self._generation = generation
        self._families = families
        generation.measure = self.told

    def __repr__(self) -> str:
        return f"<Counted of {self._generation!r}>"

    def families(self) -> Iterator[Metric]:
        """All of them."""
        for each in self._families:
            yield from map(self._whole, each())

    def told(self) -> dict[str, Any]:
        """The same for the next process: by the name of a family, a list of values, each with its name and its labels."""
        return {one.name: [[each.name, each.labels, each.value] for each in one.samples] for one in self.families()}

    def _whole(self, family: Metric) -> Metric:
        before = dict(_values(self._generation.figures_before.get(family.name)))
        own = {(each.name, _ordered(each.labels)): each.value for each in family.samples}
        if not before or not self._counts(family) or (family.type == "histogram" and before.keys() != own.keys()):
            return family  # one of another release may have other bounds
        join = max if family.name in LARGEST else sum
        family.samples.clear()
        for name, labels in own | before:
            values = [one[name, labels] for one in (own, before) if (name, labels) in one]
            family.add_sample(name, dict(labels), join(values))
        return family

    def _counts(self, family: Metric) -> bool:
        """Whether what those before have of it is a part of it now."""
        return family.type != "gauge" or (self._generation.earlier is not None and family.name in ADDED | LARGEST)


def _ordered(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _values(told: object) -> Iterator[tuple[Key, float]]:
    """What is understood of a family that the process before has told: it may be of another release."""
    for each in told if isinstance(told, list) else ():
        match each:
            case [str(name), dict(labels), int(value) | float(value)]:
                yield (name, _ordered(labels)), value
