"""Only :mod:`nbdtun.ownership` acts on names in the file system, gives things away, and binds or reaches UNIX sockets."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.tree import Tree, within_room

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


def owners(tree: Tree) -> Iterator[str]:
    """Nobody else calls the functions that would follow somebody's link."""
    for module in tree.modules.values():
        if not within_room(module.name, "ownership"):
            yield from (f"{module.name}:{line} uses {what}, which is ownership's" for what, line in _offences(module.tree))


def _offences(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Calls, and mentions, of what belongs to the owner: what, and the line."""
    called = _called(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            what = called.get(ast.unparse(node).partition(".")[0], "") + ast.unparse(node)[len(ast.unparse(node).partition(".")[0]) :]
            if isinstance(node, ast.Attribute) and what not in FUNCTIONS and node.attr in METHODS and not _is_module(node.value, called):
                what = node.attr
            if what in FUNCTIONS or what in METHODS or what.rpartition(".")[2] in NAMES:
                yield what, node.lineno
        elif isinstance(node, ast.Call):
            yield from _connects(node)


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


def _connects(call: ast.Call) -> Iterator[tuple[str, int]]:
    """A connect() or open() to something that is written as a path."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == "connect" and _is_socket(function.value):
        yield "connect", call.lineno


def _is_socket(value: ast.expr) -> bool:
    """By the names that sockets have; endpoints, monitors and targets connect in their own ways."""
    return (isinstance(value, ast.Name) and ("sock" in value.id or value.id in ("probe", "client"))) or (
        isinstance(value, ast.Call) and ast.unparse(value.func) in ("socket.socket", "socket")
    )
