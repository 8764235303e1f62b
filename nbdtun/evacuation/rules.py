"""The operator's rules: VMs that stay together, that never share a host, that go to one destination, and which of them go first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from nbdtun.errors import ConfigError

Names = tuple[str, ...]

#: The most that a priority can be.
HIGHEST: Final = 1_000_000


@frozen
class Rules:
    """
    ``together`` and ``apart`` are groups of VMs, ``pins`` maps VMs to destinations. ``order`` names VMs that go first, in this order;
    ``priority`` counts before the order, the highest first, 0 where there is none.
    """

    together: tuple[Names, ...] = ()
    apart: tuple[Names, ...] = ()
    pins: Mapping[str, str] = field(factory=dict)
    order: Names = ()
    priority: Mapping[str, int] = field(factory=dict)

    def named(self) -> frozenset[str]:
        """All VMs that they name, but for the order, which may be that of many hosts."""
        groups = [name for group in (*self.together, *self.apart) for name in group]
        return frozenset([*groups, *self.pins, *self.priority])

    def groups(self, vms: Iterable[str]) -> list[list[str]]:
        """The VMs in groups that stay together, however the groups of the rules overlap; a VM without a rule is a group of its own."""
        found: list[list[str]] = [[vm] for vm in vms]
        for group in self.together:
            joined = [each for each in found if any(vm in group for vm in each)]
            if joined:
                found = [each for each in found if each not in joined] + [[vm for each in joined for vm in each]]
        return found

    def apart_from(self, vm: str) -> frozenset[str]:
        """The VMs that must not be on its host."""
        return frozenset(other for group in self.apart if vm in group for other in group) - {vm}

    def rank(self, vm: str) -> tuple[int, int]:
        """Where it comes in the order: the smallest first."""
        return -self.priority.get(vm, 0), self.order.index(vm) if vm in self.order else len(self.order)


def parse_names(text: str) -> Names:
    """
    ``web1,db1``: two VMs or more.

    :raise ConfigError: it is not.
    """
    names = _names(text)
    if len(names) < 2:
        raise ConfigError(f"{text!r} is not a group of VMs, such as web1,db1")
    return names


def parse_order(text: str) -> Names:
    """
    ``db1,web1``: the VMs that go first.

    :raise ConfigError: one is named twice.
    """
    return _names(text)


def parse_pin(text: str) -> tuple[str, str]:
    """
    ``web1=ssh://hv2``: a VM and its destination.

    :raise ConfigError: it has not that form.
    """
    return _halves(text, "VM=DESTINATION, such as web1=ssh://hv2")


def parse_priority(text: str) -> tuple[str, int]:
    """
    ``web1=10``: a VM and its priority.

    :raise ConfigError: it has not that form.
    """
    vm, number = _halves(text, "VM=NUMBER, such as web1=10")
    if not number.removeprefix("-").isdecimal() or abs(int(number)) > HIGHEST:
        raise ConfigError(f"{text!r}: {number!r} is not a whole number of at most {HIGHEST}")
    return vm, int(number)


def _names(text: str) -> Names:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{text!r} names no VM, or one twice")
    return names


def _halves(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ConfigError(f"{text!r} does not have the form {form}")
    return name.strip(), value.strip()
