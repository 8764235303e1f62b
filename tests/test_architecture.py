"""The walls hold; and each rule that keeps them would see a violation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import nbdtun
from tests.architecture.rooms import MAX_FILES, MAX_FUNCTION, MAX_LINES
from tests.architecture.rules import RULES, Rule
from tests.architecture.tree import Tree

ROOT = Path(nbdtun.__file__).parent.parent

#: Something that breaks each rule, planted into a copy of the product: what is appended to which file.
PLANTED: dict[str, tuple[str, str]] = {
    "layers": ("nbdtun/tunnel/wires/plain.py", "from nbdtun.tunnel.channels.channel import Channel"),
    "apart": ("nbdtun/tunnel/source/client.py", "def late():\n    from nbdtun.tunnel.destination import sink"),
    "circles": ("nbdtun/errors.py", "def late():\n    from nbdtun.units import size_text"),
    "bans": ("nbdtun/tunnel/protocol/frames.py", "import socket"),
    "sizes": ("nbdtun/units.py", "def long():\n" + "    pass\n" * MAX_FUNCTION),
    "maps": ("nbdtun/tls/unnamed.py", ""),
    "paths": ("README.md", "See nbdtun/tunnel/gone.py."),
    "namespaces": ("nbdtun/cli/log.py", 'GONE = "nbdtun.tunnel.gone"'),
    "reasons": ("nbdtun/units.py", "try:\n    pass\nexcept Exception:\n    pass"),
    "questions": ("nbdtun/tunnel/channels/outage.py", ""),
    "owners": ("nbdtun/service/source.py", "import os\nos.chown('x', 1, 1)"),
    "twins": ("nbdtun/tls/untested.py", ""),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "nbdtun", tmp_path / "nbdtun", ignore=shutil.ignore_patterns("__pycache__"), copy_function=linked)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "README.md").write_text("")
    return tmp_path


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds(rule: Rule) -> None:
    assert list(rule(Tree(ROOT))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_violation_is_seen(rule: Rule, copy: Path) -> None:
    path, text = PLANTED[rule.__name__]
    append(copy / path, text)
    if rule.__name__ == "questions":
        (copy / path).unlink()
    assert list(rule(Tree(copy)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nbdtun/migration/vm/memory.py", "from nbdtun.tunnel.settings import Terms"),
        ("nbdtun/tunnel/wires/pipe.py", "import nbdtun.migration.ids"),
        ("nbdtun/migration/destination/session.py", "from nbdtun.migration.source import outcome"),
        ("nbdtun/migration/source/migration.py", "from nbdtun.migration.check.preflight import Preflight"),
        ("nbdtun/display/bars.py", "from nbdtun import service"),
    ],
)
def test_rooms_stay_apart(copy: Path, path: str, text: str) -> None:
    append(copy / path, text)
    assert _broken("apart", copy)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nbdtun/migration/vm/guest.py", "import asyncio"),
        ("nbdtun/service/source.py", "from qemu.qmp import QMPClient"),
        ("nbdtun/cli/check.py", "from twisted.internet import reactor"),
        ("nbdtun/tunnel/protocol/records.py", "from time import monotonic"),
    ],
)
def test_libraries_stay_in_their_rooms(copy: Path, path: str, text: str) -> None:
    append(copy / path, text)
    assert _broken("bans", copy)


def test_files_and_folders_are_counted(copy: Path) -> None:
    append(copy / "nbdtun/units.py", "# \n" * MAX_LINES)
    for number in range(MAX_FILES):
        (copy / f"nbdtun/tls/more{number}.py").touch()
    assert [line.split(" has ")[0] for line in _broken("sizes", copy)] == ["nbdtun/tls", "units"]


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
def test_only_ownership_owns(copy: Path, violation: str) -> None:
    for name in ("nbdtun/ownership/way.py", "nbdtun/units.py"):
        append(copy / name, violation)
    assert {line.partition(":")[0] for line in _broken("owners", copy)} == {"units"}


def linked(source: str, copy: str) -> None:
    """As good as a copy, and quicker, where both are on one file system."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copyfile(source, copy)


def append(file: Path, text: str) -> None:
    """Behind what is there; the file is linked, so another takes its place."""
    before = file.read_text() if file.exists() else ""
    file.unlink(missing_ok=True)
    file.write_text(f"{before}\n{text}\n")


def _broken(name: str, root: Path) -> list[str]:
    rules: dict[str, Callable[[Tree], object]] = {rule.__name__: rule for rule in RULES}
    return list(rules[name](Tree(root)))  # type: ignore[call-overload, no-any-return]
