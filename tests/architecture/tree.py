"""A checkout, and what its modules import."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path

from attrs import frozen

from tests.architecture.rooms import LAYERS


@cache
def parsed(text: str) -> ast.Module:
    """The same text is parsed once, however many checkouts have it."""
    return ast.parse(text)


@frozen(eq=False, slots=False)
class Module:
    """One file of the product; ``name`` is dotted, without ``nbdtun``."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return parsed(self.path.read_text())

    @property
    def room(self) -> str:
        """The longest entry of the layers that it is in."""
        rooms = [room for row in LAYERS for room in row if f"{self.name}.".startswith(f"{room}.")]
        return max(rooms, key=len, default="")

    def imports(self, *, at_once: bool = False) -> Iterator[tuple[str, str]]:
        """Each module, and each name in it, that it imports; ``at_once``: when it is itself imported."""
        for node in self.tree.body if at_once else ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from ((node.module, alias.name) for alias in node.names)


@frozen(eq=False, slots=False)
class Tree:
    """A checkout at ``root``."""

    root: Path

    @cached_property
    def modules(self) -> Mapping[str, Module]:
        base = self.root / "nbdtun"
        found = {}
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path)
        return found

    def imported(self, module: Module) -> set[str]:
        """The product's modules that ``module`` imports."""
        found = set()
        for source, name in module.imports():
            if source.partition(".")[0] != "nbdtun":
                continue
            source = source.removeprefix("nbdtun").removeprefix(".")
            inner = f"{source}.{name}".removeprefix(".")
            found.add(inner if inner in self.modules else source)
        return found - {"", module.name}

    def within(self, room: str) -> Iterator[Module]:
        """The modules of ``room``."""
        return (module for name, module in self.modules.items() if within_room(name, room))

    @property
    def packages(self) -> Iterator[Module]:
        return (module for module in self.modules.values() if module.path.name == "__init__.py" and module.name)

    @property
    def pages(self) -> list[Path]:
        folders = ("", "docs", "bench", "lab")
        return [page for folder in folders for pattern in ("*.md", "*.rst") for page in sorted((self.root / folder).glob(pattern))]


def within_room(name: str, room: str) -> bool:
    return f"{name}.".startswith(f"{room}.")
