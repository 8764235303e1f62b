"""
The VMs that a destination serves: those that its settings name, and those whose QMP sockets are found at the place of a pattern.

The name that a source sends is only compared. A pattern's names and paths come from the files that are there, so nothing of a source's
choosing becomes a path. A socket that was asked for is remembered: a QEMU that ends removes it, and its source may ask for the outcome.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from nbdtun.config.names import NAME
from nbdtun.config.values import PLACE, VM, VMPattern
from nbdtun.errors import ConfigError
from nbdtun.ownership.way import LONGEST_SOCKET_PATH
from nbdtun.units import listed

#: The most sockets that are remembered.
REMEMBERED = 256

#: Any name, valid or not.
_ANYTHING: Final = "(?s:.+)"

#: The most bytes of a path (limits.h).
PATH_MAX: Final = 4096


class VMs(Mapping[str, str]):
    """
    The paths of the QMP sockets, by name. A VM that is named has that socket, whatever the patterns find.

    ``places`` are the forms of the sockets that are looked for.
    """

    def __init__(self, given: Iterable[VM | VMPattern]) -> None:
        self._named: dict[str, str] = {}
        self._patterns: list[VMPattern] = []
        self._remembered: dict[str, str] = {}
        self.places: list[str] = []
        for one in given:
            self._add(one)

    def __repr__(self) -> str:
        return f"<VMs {', '.join(self.texts)}>"

    @property
    def texts(self) -> list[str]:
        """What is served, by names and patterns."""
        return [*self._named, *(f"{pattern.names}={pattern.qmp}" for pattern in self._patterns)]

    def change(self, add: Iterable[VM | VMPattern], remove: Iterable[VM | VMPattern], busy: Collection[str] = ()) -> None:
        """
        Serve some more, and others no longer. A VM of that name, or a pattern for the same names and sockets, takes the place of the one
        before. Those of ``busy`` are remembered: their migrations are under way.
        """
        known = {name: self[name] for name in busy if name in self}
        for one in remove:
            self._remove(one)
        for one in add:
            self._remove(one)
            self._add(one)
        self._remembered = {name: path for name, path in {**self._remembered, **known}.items() if name in known or self._finds(name, path)}

    def find(self, text: str) -> VM | VMPattern:
        """
        The VM of this name, or the pattern for these names, as one that is served.

        :raise ConfigError: there is none.
        """
        if text in self._named:
            return VM(text, self._named[text])
        for pattern in self._patterns:
            if text in (pattern.names, f"{pattern.names}={pattern.qmp}"):
                return pattern
        raise ConfigError(f"no VM {text} is served", f"there is {listed(self.texts) or 'none'}")

    def _add(self, one: VM | VMPattern) -> None:
        if isinstance(one, VM):
            self._named[one.name] = one.qmp
        else:
            self._patterns.append(one)
            self.places.append(one.qmp)

    def _remove(self, one: VM | VMPattern) -> None:
        if isinstance(one, VM):
            self._named.pop(one.name, None)
        elif one in self._patterns:
            self._patterns.remove(one)
            self.places.remove(one.qmp)

    def _finds(self, name: str, path: str) -> bool:
        """Whether a pattern would find that socket, if it is there."""
        return any(fnmatchcase(name, each.names) and each.qmp.replace(PLACE, name) == path for each in self._patterns)

    def __getitem__(self, name: str) -> str:
        if name in self._named:
            return self._named[name]
        path = next((path for found, path in self._sockets() if found == name and _is_socket(path)), None)
        path = path or self._remembered[name]
        self._remember(name, path)
        return path

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def items(self) -> ItemsView[str, str]:
        """All that are there now, for one look at the files."""
        return self._present().items()

    def _present(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, path in self._sockets():
            if name not in found and _is_socket(path):
                found[name] = path
        return {**found, **self._named}

    def _sockets(self) -> Iterator[tuple[str, str]]:
        for pattern in self._patterns:
            yield from _candidates(pattern)

    def _remember(self, name: str, path: str) -> None:
        self._remembered.pop(name, None)
        self._remembered[name] = path
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]


def unusable(pattern: VMPattern) -> dict[str, str]:
    """
    The sockets of this form that are passed over, by what stands in the place of the name: that is no valid name, or the path is too long.
    """
    usable = dict(_candidates(pattern))
    every = _candidates(pattern, name=_ANYTHING, longest=PATH_MAX)
    return {name: path for name, path in every if name not in usable and _is_socket(path)}


def _candidates(pattern: VMPattern, name: str = NAME, longest: int = LONGEST_SOCKET_PATH) -> Iterator[tuple[str, str]]:
    """The names that the entries of one directory spell, each with the path of its socket, which need not exist."""
    before, _, after = pattern.qmp.partition(PLACE)
    directory, _, prefix = before.rpartition("/")
    suffix, slash, rest = after.partition("/")
    for vm in _spelled(directory or "/", prefix, suffix, name):
        if fnmatchcase(vm, pattern.names):
            path = f"{directory}/{prefix}{vm}{suffix.replace(PLACE, vm)}{slash}{rest.replace(PLACE, vm)}"
            if len(os.fsencode(path)) <= longest:
                yield vm, path


def _spelled(directory: str, prefix: str, suffix: str, name: str) -> list[str]:
    """The names in the entries of ``directory`` that have this form; none if it cannot be read."""
    again = "(?P=vm)".join(map(re.escape, suffix.split(PLACE)))
    form = re.compile(f"{re.escape(prefix)}(?P<vm>{name}){again}")
    try:
        entries = sorted(os.listdir(directory))
    except OSError:
        return []
    return [found["vm"] for found in map(form.fullmatch, entries) if found]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
