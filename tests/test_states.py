"""Every table of states is complete, and nothing changes a state but :meth:`nbdtun.states.Life.advance`."""

from __future__ import annotations

import ast
import contextlib
import enum
import importlib
import pkgutil
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbdtun
from nbdtun.states import ImpossibleTransition, Life, Transitions

Table = Transitions[Any, Any]

ROOT = Path(nbdtun.__file__).parent
MODULES = [name for _, name, _ in pkgutil.walk_packages(nbdtun.__path__, "nbdtun.") if not name.endswith("__main__")]

#: Each table, by the name of the module that declares it.
DECLARED: dict[str, Table] = {
    name: importlib.import_module(name).TRANSITIONS
    for name in MODULES
    if "\nTRANSITIONS: Final = " in Path(importlib.import_module(name).__file__ or "").read_text()
}

each = pytest.mark.parametrize("table", DECLARED.values(), ids=DECLARED)


def test_what_has_states() -> None:
    assert sorted(DECLARED) == [
        "nbdtun.evacuation.life",
        "nbdtun.migration.destination.life",
        "nbdtun.migration.qmp.life",
        "nbdtun.migration.source.life",
        "nbdtun.migration.vm.mirror",
        "nbdtun.tunnel.channels.life",
    ]


def members(one: enum.Enum) -> set[Any]:
    """All that are of its kind."""
    return set(type(one))


def reached(table: Table, start: Any) -> set[Any]:
    """All states that can follow ``start``, and itself."""
    found, new = {start}, [start]
    while new:
        new = [after for state in new for after in table.rows[state].values() if after not in found]
        found.update(new)
    return found


@each
def test_every_state_is_declared_and_can_be_reached(table: Table) -> None:
    assert set(table.rows) == members(table.start) == reached(table, table.start)


@each
def test_every_state_has_a_way_to_an_end(table: Table) -> None:
    assert table.ends
    assert [state for state in table.rows if not reached(table, state) & table.ends] == []


@each
def test_every_trigger_is_declared_in_every_state(table: Table) -> None:
    triggers = {trigger for row in table.rows.values() for trigger in row}
    assert triggers == members(next(iter(triggers)))  # each of them does something somewhere
    in_part = {trigger for trigger in triggers if any(trigger not in row for row in table.rows.values())}
    assert sorted(map(str, in_part)) == sorted(map(str, [*table.impossible, *table.ignored, *table.refused]))  # once


@each
def test_an_end_is_for_ever_whatever_comes(table: Table) -> None:
    """So it comes exactly once."""
    dice, triggers = random.Random(4), [*table.impossible, *table.ignored, *table.refused]
    for _ in range(300):
        life, ended = Life(table), 0
        for trigger in dice.choices(triggers, k=40):
            with contextlib.suppress(ImpossibleTransition, ValueError):
                ended += life.advance(trigger, ValueError("refused")) and life.state in table.ends
        assert ended == (life.state in table.ends)


def attributes(tree: ast.AST) -> Iterator[tuple[ast.Attribute, ast.expr | None]]:
    """Each attribute that is assigned, and what to, where it is assigned alone."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Tuple):
                values = value.elts if isinstance(value, ast.Tuple) else [None] * len(target.elts)
                yield from ((one, what) for one, what in zip(target.elts, values, strict=True) if isinstance(one, ast.Attribute))
            elif isinstance(target, ast.Attribute):
                yield target, value


def breaches(source: str) -> list[str]:
    """Where a state is changed by something else, or kept in another way."""
    found = []
    tree = ast.parse(source)
    inits = {id(node) for function in ast.walk(tree) if getattr(function, "name", "") == "__init__" for node in ast.walk(function)}
    for target, value in attributes(tree):
        text = ast.unparse(value) if value is not None else ""
        if (
            target.attr.lstrip("_") in ("state", "stage")
            or text.startswith("State.")
            or (target.attr == "_life" and not (text == "Life(TRANSITIONS)" and id(target) in inits))
        ):
            found.append(f"{target.lineno}: {ast.unparse(target)} = {text}")
    named = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in ("State", "Stage")]
    declared = any(isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TRANSITIONS" for node in tree.body)
    return [*found, *(f"{node.lineno}: {node.name} has no table" for node in named if not declared)]


def test_nothing_else_changes_a_state() -> None:
    sources = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "states.py"]
    assert {str(path.relative_to(ROOT)): found for path in sources if (found := breaches(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "self._life.state = x",
        "self._state = State.NEW",
        "self.now, self.then = State.NEW, 1",
        "a, self._stage = b",
        "self._state += 1",
        "def again(self): self._life = Life(TRANSITIONS)",
        "class State(enum.Enum): NEW = 1",
    ],
)
def test_a_breach_is_found(source: str) -> None:
    assert breaches(source)


class Lamp(enum.Enum):
    OFF = "off"
    ON = "on"
    BROKEN = "broken"


class Do(enum.Enum):
    PUSH = "push"
    BREAK = "break"
    MEND = "mend"


LAMP = Transitions(
    Lamp.OFF,
    {Lamp.OFF: {Do.PUSH: Lamp.ON}, Lamp.ON: {Do.PUSH: Lamp.OFF, Do.BREAK: Lamp.BROKEN}, Lamp.BROKEN: {Do.PUSH: Lamp.BROKEN}},
    impossible={Do.BREAK},
    refused={Do.MEND},
)


def test_a_life() -> None:
    life = Life(LAMP)
    assert (life.advance(Do.PUSH), life.state) == (True, Lamp.ON)
    with pytest.raises(ValueError, match="not by us"):
        life.advance(Do.MEND, ValueError("not by us"))
    assert (life.advance(Do.BREAK), life.state) == (True, Lamp.BROKEN)
    assert (life.advance(Do.PUSH), repr(life)) == (False, "<Life broken>")
    with pytest.raises(ImpossibleTransition, match="break cannot happen in the state broken"):
        life.advance(Do.BREAK)
    with pytest.raises(ImpossibleTransition):
        life.advance(Do.MEND)  # nobody is there to whom it could be refused


def test_a_table_as_text() -> None:
    assert list(LAMP.lines()) == [
        ("off", "push → on"),
        ("on", "push → off, break → broken"),
        ("broken", "push → broken, (the end)"),
        ("elsewhere impossible", "break"),
        ("elsewhere refused", "mend"),
    ]
