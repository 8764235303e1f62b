"""Each attribute is declared: none is born outside ``__init__`` and what that calls, but those that the class itself annotates."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from functools import cache
from typing import Any, TypeGuard

import pytest

import nbdtun

MODULES = [name for _, name, _ in pkgutil.walk_packages(nbdtun.__path__, "nbdtun.") if not name.endswith("__main__")]
CLASSES = {
    f"{name}.{one.__qualname__}": one
    for name in MODULES
    for one in vars(importlib.import_module(name)).values()
    if inspect.isclass(one) and one.__module__ == name
}


def own(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


@cache
def methods(one: type[Any]) -> dict[str, ast.AST]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    return {node.name: node for node in getattr(tree, "body", ()) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def assigned(method: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(method) if own(node) and isinstance(node.ctx, ast.Store)}


def begun(one: Any) -> set[str]:
    """The names of the methods that are done when an object is made."""
    known, new = methods(one), {"__init__"}
    found: set[str] = set()
    while new := (new & known.keys()) - found:
        found |= new
        new = {node.func.attr for name in new for node in ast.walk(known[name]) if isinstance(node, ast.Call) and own(node.func)}
    return found


def late(one: Any) -> set[str]:
    declared = set(dir(one))
    for base in one.__mro__:
        declared |= set(vars(base).get("__annotations__", ()))
        if base.__module__.startswith(("nbdtun", __name__)):
            declared |= {attribute for name in begun(base) for attribute in assigned(methods(base)[name])}
    return {attribute for method in methods(one).values() for attribute in assigned(method)} - declared


def test_none_is_born_later() -> None:
    assert {name: found for name, one in CLASSES.items() if (found := late(one))} == {}


class Early:
    def __init__(self) -> None:
        self.one = 1
        self.agree()

    def agree(self) -> None:
        self.two, self.three = 2, 3


class Late(Early):
    def begin(self) -> None:
        self.one, self.four = 2, 4


@pytest.mark.parametrize(("one", "found"), [(Early, set()), (Late, {"four"})])
def test_one_is_found(one: type[Any], found: set[str]) -> None:
    assert late(one) == found
