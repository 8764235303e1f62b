"""
The push: nbdtun is copied to a host that has none, into the cache of the user there.

Two commands run at the far end. The first finds a Python that can run the executable, and looks at the user's cache; the second, which is
left out if the same executable is there already, writes it: by a temporary name, and renamed only if its hash is the right one. Their
program (:mod:`nbdtun.ownership.cache`) comes by their standard input, so that no shell reads it. All that a login shell prints is skipped.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, Protocol

from attrs import frozen

from nbdtun.errors import ReachError, printable
from nbdtun.reach.pushing.executable import Executable

#: Begins the line with the answer.
MARKER: Final = "nbdtun-push "

#: Seconds for an answer, and for a copy over a slow line.
SOON: Final = 60.0
LONG: Final = 900.0

_RUN: Final = 'exec $p -I -c "import sys;r=sys.stdin.buffer;exec(r.read(int(r.readline())))"'

_INSTALL: Final = "install nbdtun there"


@frozen
class Ran:
    """A command that has ended, with its exit ``status``: its standard ``output``, and the last lines of its standard error."""

    status: int
    output: bytes
    said: Sequence[str] = ()


class Shell(Protocol):
    """A host where commands can be run."""

    async def run(self, words: Sequence[str], stdin: bytes, seconds: float) -> Ran:
        """
        Run the command of these words there, give it ``stdin``, and wait for its end.

        :raise ReachError: that cannot be, or takes longer than ``seconds``.
        """


async def push(shell: Shell, host: str, executable: Executable) -> str:
    """
    Bring the executable to ``host``, unless it is there; returns what runs it, as the begin of a shell's command line.

    :raise ReachError: it cannot run there, or there is no room for it.
    """
    needed = len(executable.content) + executable.unpacked
    facts = await _ask(shell, host, executable, f"look({executable.name!r}, {needed})")
    _check(host, executable, facts)
    if facts["there"] != executable.sha256:
        size = len(executable.content)
        taking = f"take({executable.name!r}, sys.stdin.buffer, {size}, {executable.sha256!r})"
        _check_usable(host, await _ask(shell, host, executable, taking, executable.content))
    return shlex.join([facts["python"], "-I", facts["path"]])


def _check(host: str, executable: Executable, facts: dict[str, Any]) -> None:
    """Refuse a host that cannot run it."""
    if facts["machine"] != executable.machine:
        what = f"{host}: its processor is {facts['machine']}, and nbdtun's executable here is for {executable.machine}"
        raise ReachError(what, _INSTALL)
    kind, version = facts["libc"]
    if kind != "glibc":
        raise ReachError(f"{host}: its C library is not glibc, which nbdtun's executable needs", _INSTALL)
    if executable.libc and _numbers(version) < _numbers(executable.libc):
        what = f"{host}: its glibc is {version}, and nbdtun's executable needs {executable.libc} or later"
        raise ReachError(what, _INSTALL)
    _check_usable(host, facts)


def _check_usable(host: str, facts: dict[str, Any]) -> None:
    if "error" in facts:
        raise ReachError(f"{host}: nbdtun cannot be copied there: {printable(str(facts['error']), 300)}")


async def _ask(shell: Shell, host: str, executable: Executable, question: str, content: bytes = b"") -> dict[str, Any]:
    """Let a Python there answer a question, which is a call of a function of ours."""
    source = (files("nbdtun") / "ownership" / "cache.py").read_text()
    program = f"{source}\nimport json\nprint({MARKER!r} + json.dumps({question}), flush=True)\n".encode()
    ran = await shell.run(finder(executable.pythons), b"%d\n" % len(program) + program + content, LONG if content else SOON)
    for line in ran.output.decode("utf-8", "replace").splitlines():
        if line.startswith(MARKER):
            return _answer(host, executable, line.removeprefix(MARKER))
    last = next((line for line in reversed(ran.said) if line.strip()), f"exit status {ran.status}")
    raise ReachError(f"{host}: nbdtun cannot be copied there: {printable(last, 300)}")


def _answer(host: str, executable: Executable, text: str) -> dict[str, Any]:
    if text.startswith("no-python"):
        found = printable(text.partition(" ")[2], 100).strip()
        wanted = " or ".join(executable.pythons)
        raise ReachError(
            f"{host}: it has no nbdtun, and no Python {wanted} to run a copy of it ({found or 'no Python at all'})",
            "install nbdtun there, or such a Python",
        )
    try:
        facts: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ReachError(f"{host}: nbdtun cannot be copied there: {printable(text, 300)}") from None
    return facts


def finder(pythons: Sequence[str]) -> list[str]:
    """
    The command that runs a program, which comes by its standard input, by the first of these Pythons that there is.

    Every login shell reads it in the same way: it is one line, without a single quote, a backslash or an exclamation mark.
    """
    names = " ".join([*(f"python{version}" for version in reversed(pythons)), "python3"])
    version = '$($p -I -c "import sys;print(*sys.version_info[:2],sep=chr(46))" 2>/dev/null)'
    known = f'case " {" ".join(pythons)} " in *" $v "*) {_RUN};; esac'
    return ["sh", "-c", f'for p in {names}; do v={version}; {known}; done; echo "{MARKER}no-python $(python3 -V 2>/dev/null)"']


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
