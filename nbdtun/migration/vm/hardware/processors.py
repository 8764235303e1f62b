"""
The processors of two machines, compared. Rules without I/O; :mod:`~nbdtun.migration.vm.hardware.cpu` has the facts.

QEMU facts: each processor has sections of its own in the stream, by its number. A machine with another number of processors refuses the
stream, or starts its guest with one that never ran. Places for more are in the firmware's tables, and in the hot-plug controller's state.
"""

from __future__ import annotations

from collections.abc import Iterator

from nbdtun.migration.catalogue import CPU_LESS, CPU_MORE, CPU_PLACES
from nbdtun.migration.finding import Finding
from nbdtun.migration.vm.hardware.cpu import LEVELS, MODEL, VENDOR, lacking
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.units import listed

CPU, SMP = "cpu", "smp"


def compare(there: Hardware, here: Hardware) -> Iterator[Finding]:
    """A missing feature is a failure, an extra one a warning."""
    if there.cpu and here.cpu:
        yield from _less(there, here)
        yield from _more(there, here)
    if there.processors != here.processors and there.processors and here.processors:
        yield CPU_PLACES(_counted(there, here), name=SMP)


def model(hardware: Hardware) -> str:
    """The model as ``-cpu`` takes it."""
    return str(hardware.cpu.get("type", "")).removesuffix("-cpu").rpartition("-")[0]


def _same(there: Hardware) -> str:
    return f"start the destination with -cpu {model(there)} and the source's features"


def _less(there: Hardware, here: Hardware) -> Iterator[Finding]:
    one, other = model(there), model(here)
    models = f" (-cpu {one} at the source, {other} there)" if one != other else ""
    if less := lacking(there.cpu, here.cpu):
        yield CPU_LESS(f"the destination's CPU lacks {listed(less, 16)}{models}", _same(there), name=CPU)
    for name in (*VENDOR, *LEVELS):
        here_is, there_is = here.cpu.get(name), there.cpu.get(name)
        worse = here_is != there_is if name in VENDOR else _below(here_is, there_is)
        if here_is is not None and there_is is not None and worse:
            both = f"the CPU's {name} is {there_is} at the source and {here_is} at the destination"
            yield CPU_LESS(both, _same(there), name=CPU)


def _below(one: object, other: object) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one < other


def _more(there: Hardware, here: Hardware) -> Iterator[Finding]:
    if more := lacking(here.cpu, there.cpu):
        yield CPU_MORE(f"the destination's CPU has {listed(more, 16)}, which the source's lacks", name=CPU)
    for name in (*MODEL, *LEVELS):
        here_is, there_is = here.cpu.get(name), there.cpu.get(name)
        differs = here_is != there_is if name in MODEL else _below(there_is, here_is)
        if here_is is not None and there_is is not None and differs:
            yield CPU_MORE(f"the CPU's {name} is {there_is} at the source and {here_is} at the destination", name=CPU)


def _counted(there: Hardware, here: Hardware) -> str:
    less = [place for place in there.processors if place not in here.processors]
    more = [place for place in here.processors if place not in there.processors]
    both = f"there are {_taken(there)} CPUs at the source and {_taken(here)} at the destination"
    only = [f"{where} only: {listed(places, 4)}" for where, places in (("at the source", less), ("at the destination", more)) if places]
    return f"{both} ({'; '.join(only)})"


def _taken(hardware: Hardware) -> str:
    free = sum(place.endswith("(empty)") for place in hardware.processors)
    return f"{len(hardware.processors) - free}{f' of {len(hardware.processors)}' if free else ''}"
