"""The push: what a host without nbdtun is asked, what is copied, and each reason why it cannot be."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.errors import ReachError
from nbdtun.reach.pushing.executable import Executable
from nbdtun.reach.pushing.pack import THIS
from nbdtun.reach.pushing.push import Ran, finder, push
from tests.reach.local_shell import LocalShell

PROGRAM = b"print('it runs')\n" * 3


def executable(**changed: Any) -> Executable:
    libc = "" if "libc" not in changed else changed.pop("libc")
    return evolve(Executable(PROGRAM, "0" * 64, (THIS,), os.uname().machine, libc, 10_000), **changed)


def pushed(shell: Any, what: Executable | None = None) -> str:
    got: list[Any] = []
    Deferred.fromCoroutine(push(shell, "ssh://dest", what or executable())).addBoth(got.append)
    if not isinstance(got[0], str):
        got[0].raiseException()
    found: str = got[0]
    return found


def refused(shell: Any, what: Executable | None = None) -> str:
    with pytest.raises(ReachError) as caught:
        pushed(shell, what)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_it_is_copied_and_what_runs_it_is_told(home: Path, shell: str) -> None:
    far = LocalShell(home, shell, "echo Welcome; echo nbdtun-pushover; ")
    command = pushed(far)
    assert command.endswith(f" -I {home}/.cache/nbdtun/{executable().name}")
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("it runs\n")
    (copy,) = (home / ".cache/nbdtun").iterdir()
    assert copy.read_bytes() == PROGRAM
    assert copy.stat().st_mode & 0o777 == 0o700


def test_what_is_there_is_not_copied_again(home: Path) -> None:
    far = LocalShell(home)
    assert pushed(far) == pushed(far)
    assert len(far.given) == 3
    (home / f".cache/nbdtun/{executable().name}").write_bytes(b"cut short")
    pushed(far)
    assert (home / f".cache/nbdtun/{executable().name}").read_bytes() == PROGRAM


def test_the_cache_may_be_elsewhere(home: Path) -> None:
    assert f" -I '{home}/a cache/nbdtun/" in pushed(LocalShell(home / "none", XDG_CACHE_HOME=f"{home}/a cache"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"pythons": ("3.98", "3.99")}, "it has no nbdtun, and no Python 3.98 or 3.99 to run a copy of it (Python 3."),
        ({"machine": "s390x"}, "its processor is {machine}, and nbdtun's executable here is for s390x"),
        ({"libc": "9.1"}, "its glibc is 2."),
        ({"unpacked": 1 << 60}, "nbdtun cannot be copied there: {home}/.cache/nbdtun: 1099511627776 MiB are needed, and "),
    ],
)
def test_a_host_that_cannot_run_it(home: Path, changed: dict[str, Any], why: str) -> None:
    line = refused(LocalShell(home), executable(**changed))
    assert line.startswith(f"ssh://dest: {why.format(machine=os.uname().machine, home=home)}")
    assert not list(home.rglob("*.pyz"))


def test_no_python_at_all(home: Path) -> None:
    (home / "bin").mkdir()
    (home / "bin" / "sh").symlink_to("/bin/sh")
    line = refused(LocalShell(home, "/bin/sh", PATH=f"{home}/bin"))
    remedy = "install nbdtun there, or such a Python"
    assert line == f"ssh://dest: it has no nbdtun, and no Python {THIS} to run a copy of it (no Python at all); {remedy}"


def test_a_home_where_nothing_can_be_written(home: Path) -> None:
    (home / ".cache").write_text("a file")
    assert "cannot be copied there: " in refused(LocalShell(home))
    assert "Not a directory" in refused(LocalShell(home)) or "File exists" in refused(LocalShell(home))


class Thief(LocalShell):
    """The bytes are not the same on arrival."""

    def __init__(self, home: Path, begin: bytes, end: bytes) -> None:
        super().__init__(home)
        self.begin, self.end = begin, end

    async def run(self, words: Sequence[str], stdin: bytes, seconds: float) -> Ran:
        return await super().run(words, stdin.replace(PROGRAM, self.begin) + self.end * (PROGRAM in stdin), seconds)


@pytest.mark.parametrize(
    ("begin", "why"), [(PROGRAM[:-3], "did not arrive whole (3 bytes are missing)"), (PROGRAM[::-1], "was changed on its way")]
)
def test_a_copy_that_is_not_the_same(home: Path, begin: bytes, why: str) -> None:
    assert why in refused(Thief(home, begin, b""))
    assert list((home / ".cache/nbdtun").iterdir()) == []


class Odd:
    def __init__(self, ran: Ran) -> None:
        self.ran = ran

    async def run(self, words: Sequence[str], stdin: bytes, seconds: float) -> Ran:
        return self.ran


@pytest.mark.parametrize(
    ("ran", "why"),
    [
        (Ran(1, b"Welcome\n", ["This account is\x1b not available."]), "This account is? not available."),
        (Ran(5, b"", ["  "]), "exit status 5"),
        (Ran(0, b"nbdtun-push {]\n"), "{]"),
    ],
)
def test_a_host_that_answers_something_else(ran: Ran, why: str) -> None:
    assert refused(Odd(ran)) == f"ssh://dest: nbdtun cannot be copied there: {why}"


def test_another_c_library(home: Path) -> None:
    facts = b'nbdtun-push {"machine": "%s", "libc": ["", ""], "python": "/p", "path": "/x", "there": ""}\n' % os.uname().machine.encode()
    assert "its C library is not glibc" in refused(Odd(Ran(0, facts)))


def test_every_shell_reads_the_command_in_the_same_way() -> None:
    words = finder(("3.11", "3.12"))
    assert not set("'\\!\n").intersection(words[-1])
    assert shlex.split(shlex.join(words)) == words
    assert "for p in python3.12 python3.11 python3;" in words[-1]
    assert hashlib.sha256(PROGRAM).hexdigest() == executable().sha256
    assert f"python{sys.version_info[0]}" in words[-1]
