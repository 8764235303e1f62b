"""The peer is made of the pages alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FORBIDDEN = ("nbdtun", "twisted", "cryptography", "OpenSSL", "tests.tunnel", "tests.migration")
MODULES = sorted(path for path in HERE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_imports_nothing_of_the_product(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert [name for name in names if name.startswith(FORBIDDEN)] == []


def test_nor_does_what_it_imports() -> None:
    own = [f"tests.peer.{path.stem}" for path in MODULES if not path.stem.startswith(("test_", "conftest"))]
    check = f"import sys, {', '.join(own)}; print([name for name in sys.modules if name.split('.')[0] in ('nbdtun', 'twisted')])"
    done = subprocess.run([sys.executable, "-c", check], cwd=HERE.parent.parent, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
