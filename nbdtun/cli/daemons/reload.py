"""``nbdtun reload``: lets a running daemon read its configuration file again, or a new program take its place."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import nbdtun
from nbdtun import __version__
from nbdtun.cli.options import DURATION
from nbdtun.cli.remote import RUN_DIR, asked, base, daemons
from nbdtun.errors import ConfigError, printable
from nbdtun.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nbdtun.process import Reactor

    Work = Callable[[Reactor, Path, str | None], Coroutine[Any, Any, str]]


@click.command("reload", short_help="Let a daemon read its configuration file again.")
@click.argument("daemon", metavar="[@PID]", required=False, shell_complete=daemons)
@click.option("--program", is_flag=True, help="Let the program, as it is now on disk, take its place, with all its options.")
@click.option("--upgrade", is_flag=True, help="As --program, but only if another one was installed since the daemon began.")
@click.option(
    "--drain-timeout",
    "seconds",
    type=DURATION,
    help="With --program or --upgrade: how long the old process may keep what is under way. [default: until it ends]",
)
@RUN_DIR
def command(daemon: str | None, program: bool, upgrade: bool, seconds: float | None, run_dir: str | None) -> None:
    """Let the daemon with process id PID read its configuration file again; without PID, the one that runs. SIGHUP does the same.

    It takes other targets, VMs, forwards, allow-lists, limits and certificates, without touching channels and migrations. It says what it
    took, and what needs a restart. If the file has a mistake, nothing changes.

    With --program, the daemon is started again, with the same command line. The new process takes the port and all that is
    new. The old one keeps its channels and migrations until they end, and ends itself then. If the new one does not start, nothing changes.

    \b
    Exit status: 0  what could be taken was taken; or the new program has taken over
                 1  nothing was; or it has not
                 2  there is no such daemon
    """
    there = base(run_dir)
    if seconds is not None and not (program or upgrade):
        raise ConfigError("--drain-timeout needs --program")
    if program:
        work: Work = partial(_replace, seconds=seconds)
    else:
        work = partial(_upgrade, seconds=seconds) if upgrade else _reload
    click.echo(asked(lambda reactor: work(reactor, there, daemon)))


async def _upgrade(reactor: Reactor, there: Path, daemon: str | None, seconds: float | None) -> str:
    """A command is what is installed now; a daemon what was, when it was started."""
    from nbdtun.service.control.client import ask

    whom = daemon or await _only(reactor, there)
    report = await ask(reactor, there, whom)
    if report.get("release") != __version__ or installed() > time.time() - report.get("uptime", 0):
        return await _replace(reactor, there, whom, seconds)
    return await _reload(reactor, there, whom)


def installed() -> float:
    """
    When this program was put where it is, in seconds since 1970.

    A file's time of change is set when it is given its name (rename(2)), as dpkg and pip do, and cannot be chosen. Builds of one release,
    such as a Debian revision, differ in it.
    """
    here = Path(nbdtun.__file__)
    return next(path for path in (here, *here.parents) if path.exists()).stat().st_ctime  # in a zipapp, it is that file


async def _reload(reactor: Reactor, there: Path, daemon: str | None) -> str:
    from nbdtun.service.control.client import ask
    from nbdtun.service.control.commands import Reload

    return _account(await ask(reactor, there, daemon or await _only(reactor, there), Reload))


async def _replace(reactor: Reactor, there: Path, daemon: str | None, seconds: float | None) -> str:
    from nbdtun.service.control.client import ask
    from nbdtun.service.control.commands import Replace

    limit = {} if seconds is None else {"keep": round(seconds)}
    report = await ask(reactor, there, daemon or await _only(reactor, there), Replace, **limit)
    keeps = "ends when nothing is left of what it has" if seconds is None else f"keeps what it has for at most {duration_text(seconds)}"
    return printable(f"{report['name']}: process {report['successor']} has taken over; process {report['pid']} {keeps}")


async def _only(reactor: Reactor, there: Path) -> str:
    """The daemon that runs; one that was replaced only keeps what it has."""
    from nbdtun.service.control.client import nothing, reports
    from nbdtun.service.control.socket import names

    found = [name.text for name in names(there) if not name.vm]
    if len(found) > 1:
        every = [each for each in await reports(reactor, there) if each.get("kind") == "daemon" and each.get("state") != "replaced"]
        found = [f"@{each['pid']}" for each in every] or found
    if len(found) > 1:
        raise ConfigError(f"{len(found)} daemons of this user are running here", f"name one: {', '.join(found)}")
    if not found:
        raise ConfigError(nothing(there))
    return found[0]


def _account(report: dict[str, Any]) -> str:
    taken, left = report["taken"], report["left"]
    parts = [f"took {', '.join(taken)}"] if taken else ["took no changes"]
    parts += [f"{', '.join(left)}: restart it to change that"] if left else []
    told = f"{report['name']} (pid {report['pid']}): {report['file']}: {'; '.join(parts)}"
    return "\n".join(map(printable, [told, *report.get("missed", [])]))
