"""The modules run with the Python of the managed host, which may be as old as 3.8."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = sorted((Path(__file__).parent.parent.parent.parent / "ansible/plugins").rglob("*.py"))

#: What later Pythons have, by name.
LATER = frozenset({"removeprefix", "removesuffix", "pairwise", "tomllib", "StrEnum", "batched"})


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_an_old_python_reads_it(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    named = {getattr(node, "attr", getattr(node, "id", getattr(node, "name", None))) for node in ast.walk(tree)}
    assert named & LATER == set()


def test_there_are_plugins() -> None:
    assert {"migrate", "evacuate", "vm_info", "nbdtun", "command"} <= {path.stem for path in PLUGINS}
