"""Who may call what: rules about the product's modules that can be seen in their text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWNER = "nbdtun/ownership/"

#: Functions of modules that act on a name in the file system, or give something away.
FUNCTIONS = {
    *(
        f"os.{name}"
        for name in ("chown", "lchown", "fchown", "chmod", "lchmod", "fchmod", "unlink", "remove", "rmdir", "removedirs", "rename")
    ),
    *(
        f"os.{name}"
        for name in ("renames", "replace", "link", "symlink", "mkdir", "makedirs", "mknod", "mkfifo", "setxattr", "removexattr")
    ),
    *(f"shutil.{name}" for name in ("rmtree", "move", "chown", "copymode", "copystat", "copytree")),
    *(f"tempfile.{name}" for name in ("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile")),
}
#: Methods of the same kind, of paths, sockets and reactors, whatever they are called on.
METHODS = {
    *("chmod", "lchmod", "unlink", "rmdir", "rename", "touch", "mkdir", "symlink_to", "hardlink_to", "write_text", "write_bytes"),
    *("bind", "connect_ex", "listenUNIX", "connectUNIX", "connectUNIXDatagram", "listenUNIXDatagram"),
}
#: Names that listen on UNIX sockets, or connect to them, by path, or use a socket of ours as a file.
NAMES = {"UNIXServerEndpoint", "UNIXClientEndpoint", "open_unix_connection", "start_unix_server", "create_unix_connection"}

#: Who may, nevertheless, and why.
EXCEPTIONS = {
    ("nbdtun/tls/issue.py", "os.replace"): "certificates go where an operator has said, by a command that works as him",
    ("nbdtun/tls/issue.py", "os.unlink"): "the draft of one",
    ("nbdtun/tls/issue.py", "mkdir"): "their directory",
    ("nbdtun/daemon/service.py", "os.unlink"): "the pidfile, which twistd itself has made by that path, and would remove by it",
    ("nbdtun/migration/rollback/presence.py", "bind"): "an abstract name, which is in no file system",
}


def offences(path: Path, name: str) -> Iterator[tuple[str, str, int]]:
    """Calls, and mentions, in the module ``name`` of what belongs to the owner: the module, what, and the line."""
    tree = ast.parse(path.read_text())
    called = _called(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            what = called.get(ast.unparse(node).partition(".")[0], "") + ast.unparse(node)[len(ast.unparse(node).partition(".")[0]) :]
            if isinstance(node, ast.Attribute) and what not in FUNCTIONS and node.attr in METHODS and not _is_module(node.value, called):
                what = node.attr
            if what in FUNCTIONS or what in METHODS or what.rpartition(".")[2] in NAMES:
                yield name, what, node.lineno
        elif isinstance(node, ast.Call):
            yield from _connects(node, name)


def _called(tree: ast.Module) -> dict[str, str]:
    """What each imported name means."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return found


def _is_module(value: ast.expr, called: dict[str, str]) -> bool:
    return isinstance(value, ast.Name) and called.get(value.id) in ("os", "shutil", "tempfile")


def _connects(call: ast.Call, name: str) -> Iterator[tuple[str, str, int]]:
    """A connect() or open() to something that is written as a path."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == "connect" and _is_socket(function.value):
        yield name, "connect", call.lineno


def _is_socket(value: ast.expr) -> bool:
    """By the names that sockets have; endpoints, monitors and targets connect in their own ways."""
    return (isinstance(value, ast.Name) and ("sock" in value.id or value.id in ("probe", "client"))) or (
        isinstance(value, ast.Call) and ast.unparse(value.func) in ("socket.socket", "socket")
    )


def product(root: Path) -> Iterator[tuple[str, str, int]]:
    """All of them in the product below ``root``, but the owner's own."""
    for path in sorted([*root.glob("nbdtun/**/*.py"), *root.glob("twisted/**/*.py")]):
        name = str(path.relative_to(root))
        if not name.startswith(OWNER):
            yield from offences(path, name)


def test_only_ownership_owns() -> None:
    found = list(product(ROOT))
    assert [(*which, line) for *which, line in found if tuple(which) not in EXCEPTIONS] == []
    assert {(name, what) for name, what, _ in found} == set(EXCEPTIONS), "an exception that nobody needs"


@pytest.mark.parametrize(
    "violation",
    [
        "import os\nos.chown('x', 1, 1)",
        "import os as o\no.lchown('x', 1, 1)",
        "from os import fchmod\nfchmod(1, 1)",
        "from os import unlink as gone\ngone('x')",
        "import os\nremove = os.remove",
        "import shutil\nshutil.rmtree('x')",
        "from pathlib import Path\nPath('x').chmod(0o700)",
        "from pathlib import Path\nPath('x').touch()",
        "import socket\nsocket.socket(socket.AF_UNIX).connect('x')",
        "import socket\nsock = socket.socket(socket.AF_UNIX)\nsock.bind('x')",
        "def f(reactor, factory):\n    reactor.listenUNIX('x', factory)",
        "from twisted.internet.endpoints import UNIXClientEndpoint\nUNIXClientEndpoint(None, 'x')",
        "import asyncio\nasyncio.open_unix_connection('x')",
    ],
)
def test_a_violation_is_seen(tmp_path: Path, violation: str) -> None:
    (tmp_path / "nbdtun/ownership").mkdir(parents=True)
    for name in ("nbdtun/ownership/mine.py", "nbdtun/other.py"):
        (tmp_path / name).write_text(violation + "\n")
    assert {name for name, _, _ in product(tmp_path)} == {"nbdtun/other.py"}


def test_it_knows_neither_tunnel_nor_qemu() -> None:
    ground = ("nbdtun.errors", "nbdtun.process")
    for path in (ROOT / OWNER).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nbdtun"):
                assert node.module in ground or str(node.module).startswith("nbdtun.ownership"), path
