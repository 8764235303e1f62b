"""
A plan: as lines for people, as JSON, and as TOML, which an operator can edit and give back.

Of an edited file, the VMs that it lists are moved, in its order and to the destinations in it; the others stay.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from nbdtun.errors import ConfigError, printable
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.terms import AtEnd, Terms
from nbdtun.evacuation.values import Move
from nbdtun.units import duration_text, rate_text, size_text

#: The largest file that is read, in bytes.
MOST: Final = 16 << 20


@frozen
class Plan:
    """The moves of an evacuation, in the order in which they are begun."""

    terms: Terms
    moves: tuple[Move, ...]

    @property
    def fit(self) -> bool:
        """Whether every VM can be moved."""
        return not any(move.refused for move in self.moves)

    def as_json(self) -> dict[str, Any]:
        """The object that ``nbdtun evacuate --dry-run --json`` prints."""
        return {"fit": self.fit, "to": list(self.terms.to), "vms": [move.as_json() for move in self.moves]}


def lines(plan: Plan) -> Iterator[str]:
    """The plan for people: a line for each VM, then the sum."""
    width = max((len(move.vm) for move in plan.moves), default=0)
    for move in plan.moves:
        yield f"{move.vm:{width}}  {printable(_goes(move))}; {', '.join(_figures(move))}"
        yield from (f"{'':{width}}  warning: {printable(warning)}" for warning in move.warnings)
    going = [move for move in plan.moves if not move.refused]
    total = size_text(sum(move.size for move in going))
    yield f"{len(going)} of {len(plan.moves)} VMs can be moved, {total}{_at_most(plan)}"


def _goes(move: Move) -> str:
    return f"stays: {move.refused} [{move.code}]" if move.refused else f"to {move.to}"


def _figures(move: Move) -> list[str]:
    figures = [f"{size_text(move.disks)} of disks", f"{size_text(move.memory)} of memory"]
    if move.seconds >= 0:
        figures.append(f"about {duration_text(move.seconds)}")
    if move.downtime >= 0:
        figures.append(f"downtime about {duration_text(move.downtime / 1000)}")
    return figures


def _at_most(plan: Plan) -> str:
    """How long it takes at least, where the bandwidth has a limit."""
    rate = plan.terms.bandwidth
    if not rate:
        return ""
    seconds = sum(move.size for move in plan.moves if not move.refused) / rate
    return f", at least {duration_text(seconds)} at {rate_text(rate)}"


def toml(plan: Plan) -> Iterator[str]:
    """The plan as the lines of a file that :func:`read` understands."""
    terms = plan.terms
    yield "# Remove a VM, and it stays. The order is that of the file."
    yield "[evacuation]"
    yield from (f"{name} = {_toml(value)}" for name, value in _settings(terms))
    yield from ("", "[rules]")
    yield from (f"{name} = {_toml(value)}" for name, value in _rules(terms.rules))
    for move in plan.moves:
        yield from ("", f"# {', '.join(_figures(move))}", *(f"# warning: {printable(each)}" for each in move.warnings))
        mark = "# " if move.refused else ""
        yield from [f"# stays: {printable(move.refused)} [{move.code}]"] * bool(move.refused)
        yield f"{mark}[[vm]]"
        yield f"{mark}name = {_toml(move.vm)}"
        yield f"{mark}to = {_toml(move.to)}"


def _settings(terms: Terms) -> list[tuple[str, Any]]:
    every = [
        *(("qmp", terms.qmp), ("libvirt", terms.libvirt), ("to", terms.to), ("options", terms.words)),
        *(("bandwidth", terms.bandwidth), ("copying", terms.copying), ("retries", terms.retries), ("pause_ms", terms.pause)),
        *(("window", terms.window), ("at-end", terms.at_end.value), ("hook", terms.hooks), ("hook_ms", terms.hook_ms)),
    ]
    return [(name, value) for name, value in every if value not in ("", ()) and not (name == "bandwidth" and not value)]


def _rules(rules: Rules) -> list[tuple[str, Any]]:
    every = (("keep-together", rules.together), ("keep-apart", rules.apart))
    return [(name, value) for name, value in every if value]


def _toml(value: Any) -> str:
    """A text, a number, or a list of these: JSON's are TOML's, but for surrogates, and for DEL, which it escapes."""
    return json.dumps([*value] if isinstance(value, tuple) else value, ensure_ascii=False).replace("\x7f", "\\u007f")


@frozen
class Edited:
    """What a plan's file says: ``terms``, and the ``moves`` as pairs of a VM and its destination, in their order."""

    terms: Terms
    moves: tuple[tuple[str, str], ...]


def read(text: str, name: str) -> Edited:
    """
    Read the file ``name``.

    :raise ConfigError: it is no such file.
    """
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is no plan: {error}") from None
    strange = sorted(told.keys() - {"evacuation", "rules", "vm"})
    if strange:
        raise ConfigError(f"{name}: nothing is called {strange[0]!r} in a plan", "it has [evacuation], [rules] and [[vm]]")
    settings = _Table(name, "[evacuation]", told.get("evacuation"))
    rules = _Table(name, "[rules]", told.get("rules", {}))
    moves = tuple(_move(_Table(name, "[[vm]]", each)) for each in _listed(name, told.get("vm", [])))
    if len({vm for vm, _ in moves}) < len(moves):
        raise ConfigError(f"{name} has a VM twice")
    pins = dict(moves)
    order = tuple(pins)
    together, apart = rules.groups("keep-together"), rules.groups("keep-apart")
    rules.end()
    return Edited(_terms(settings, Rules(together, apart, pins, order)), moves)


def _listed(name: str, told: Any) -> list[Any]:
    if not isinstance(told, list):
        raise ConfigError(f"{name}: its VMs must be written as [[vm]]")
    return told


def _move(table: _Table) -> tuple[str, str]:
    move = table.text("name"), table.text("to")
    table.end()
    if not all(move):
        raise ConfigError(f"{table.where} needs a name and a destination: name = ..., to = ...")
    return move


def _terms(table: _Table, rules: Rules) -> Terms:
    terms = Terms(
        qmp=table.text("qmp"),
        libvirt=table.text("libvirt"),
        to=table.texts("to"),
        words=table.texts("options"),
        bandwidth=table.number("bandwidth", 0),
        copying=table.number("copying", 2),
        retries=table.number("retries", 3),
        pause=table.number("pause_ms", 10_000),
        window=table.text("window"),
        at_end=_at_end(table.text("at-end") or AtEnd.PAUSE.value, table.where),
        hooks=table.text("hook"),
        hook_ms=table.number("hook_ms", 30_000),
        rules=rules,
    )
    table.end()
    return terms


def _at_end(text: str, where: str) -> AtEnd:
    if text not in (each.value for each in AtEnd):
        raise ConfigError(f"{where}: at-end is {' or '.join(each.value for each in AtEnd)}")
    return AtEnd(text)


class _Table:
    """One table of the file; what is asked for is taken out of it, and the rest is strange."""

    def __init__(self, name: str, table: str, told: Any) -> None:
        self.where = f"{name}, {table}"
        if not isinstance(told, Mapping):
            raise ConfigError(f"{self.where} is missing, or is no table")
        self._told = dict(told)

    def text(self, key: str) -> str:
        return str(self._take(key, str, ""))

    def number(self, key: str, standing: int) -> int:
        value = self._take(key, int, standing)
        if isinstance(value, bool) or not 0 <= value < 1 << 62:
            raise ConfigError(f"{self.where}: {key} must be a number")
        return int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        return self._tuple(key, self._take(key, list, []))

    def groups(self, key: str) -> tuple[tuple[str, ...], ...]:
        return tuple(self._tuple(key, each) for each in self._take(key, list, []))

    def end(self) -> None:
        if self._told:
            raise ConfigError(f"{self.where}: nothing is called {next(iter(self._told))!r} there")

    def _tuple(self, key: str, told: Any) -> tuple[str, ...]:
        if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
            raise ConfigError(f"{self.where}: {key} must be a list of texts")
        return tuple(told)

    def _take(self, key: str, kind: type[Any], standing: Any) -> Any:
        value = self._told.pop(key, standing)
        if not isinstance(value, kind):
            raise ConfigError(f"{self.where}: {key} has the wrong form")
        return value


def in_order(moves: Iterable[Move], rules: Rules) -> tuple[Move, ...]:
    """The moves in the order in which they are begun."""
    return tuple(sorted(moves, key=lambda move: (*rules.rank(move.vm), move.size, move.vm)))
