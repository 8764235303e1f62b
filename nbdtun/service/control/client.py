"""Asks the migrations and daemons that run on this host, over their control sockets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime

from nbdtun.config.names import check_name
from nbdtun.dialogue import Dialogue
from nbdtun.errors import ConfigError, LinkLost, MigrationError, NbdtunError, NoAnswer
from nbdtun.logs import make_logger
from nbdtun.ownership.reacher import Reacher
from nbdtun.process import Reactor
from nbdtun.service.control.commands import LOCAL, Cancel, Replace, Status
from nbdtun.service.control.names import Name, directory, is_daemon
from nbdtun.service.control.socket import names, trustees

#: Seconds to wait for an answer. A healthy process answers at once, but a change may have to wait for QEMU.
ANSWER_SECONDS = 10.0

#: The same for commands that take longer: a new program starts.
LONGER = {Cancel: None, Replace: 60.0}


class Client(Dialogue):
    """A connection to the control socket ``name``."""

    log = make_logger()
    failed = MigrationError
    channel = "control socket"
    here = "in this command"

    def __init__(self, reactor: IReactorTime, name: str) -> None:
        super().__init__(reactor)
        self.other = f"{name}: its process"


async def ask(reactor: Reactor, base: Path, whom: str, command: Any = Status, **arguments: Any) -> dict[str, Any]:
    """
    Ask the process that migrates a VM, or a daemon; return its report. ``whom`` is the VM's name, the path of its monitor, or ``@PID``.

    :raise ConfigError: there is none, or more than one VM of that name.
    :raise NoAnswer: it did not answer in time.
    :raise MigrationError: it ended without answering.
    :raise NbdtunError: the error that it answered with.
    """
    return await ask_by_name(reactor, base, await _find(reactor, base, whom), whom, command, **arguments)


async def ask_by_name(reactor: Reactor, base: Path, name: Name, whom: str, command: Any = Status, **arguments: Any) -> dict[str, Any]:
    """The same, of the process whose control socket is ``name``; it is called ``whom`` in errors."""
    path, seconds = name.path(base), LONGER.get(command, ANSWER_SECONDS)
    try:
        client = await connectProtocol(Reacher(reactor, path, trustees(base)), Client(reactor, whom))
    except PermissionError as error:
        raise ConfigError(f"{whom}: {path}: {error.strerror}") from error
    except OSError as error:
        raise _nobody(base, whom) from error
    try:
        answer = await client.ask(command, seconds=seconds, **LOCAL.offer(), **arguments)
        LOCAL.chosen(answer, client.other)
    except NoAnswer as error:
        raise NoAnswer(f"{whom}: its process has not answered for {seconds:g} s", "is it stopped?") from error
    except LinkLost as error:
        raise MigrationError(f"{whom}: its process ended without answering") from error
    finally:
        client.hang_up()
    report: dict[str, Any] = answer["report"]
    return report


async def reports(reactor: Reactor, base: Path) -> list[dict[str, Any]]:
    """
    The reports of all. A process that does not answer has only a ``name`` and an ``error``; one that has just ended has no report.

    :raise ConfigError: ``base`` cannot be read.
    """
    return [report for name in names(base) if (report := await _report(reactor, base, name)) is not None]


async def _report(reactor: Reactor, base: Path, name: Name) -> dict[str, Any] | None:
    try:
        return await ask_by_name(reactor, base, name, name.text)
    except ConfigError:
        return None
    except NbdtunError as error:
        return {"name": name.text, "error": str(error)}


async def _find(reactor: Reactor, base: Path, whom: str) -> Name:
    """A VM's name is never taken for anything else, not even if it is a number."""
    if is_daemon(whom):
        return Name("", whom[1:])
    if whom.startswith("@"):
        raise ConfigError(f"{whom!r} names no daemon", "use its process id, as in @4711")
    if "/" in whom:
        found = [name for name in names(base) if name == Name.of_vm(name.vm, whom)]
    else:
        check_name(whom)
        found = [name for name in names(base) if name.fits(whom)]
    if len(found) > 1 or any(name.vm != whom for name in found if "/" not in whom):  # a long name is cut in a socket's path
        found = [name for name in found if (await _report(reactor, base, name) or {}).get("name") in (whom, name.text)]
    if not found:
        raise _nobody(base, whom)
    if len(found) > 1:
        monitors = [str((await _report(reactor, base, name) or {}).get("qmp")) for name in found]
        raise ConfigError(
            f"{whom}: {len(found)} VMs of that name are being migrated here", f"name one by its monitor: {', '.join(monitors)}"
        )
    return found[0]


def _nobody(base: Path, whom: str) -> ConfigError:
    if whom.isdecimal() and os.path.exists(Name.of_daemon(int(whom)).path(base)):
        return ConfigError(f"{whom}: no migration of a VM of that name is running here", f"the daemon with that process id is @{whom}")
    where = f"({directory(base)})"
    return ConfigError(f"{whom}: no such migration or daemon of this user is running here {where}", "`nbdtun status` lists this user's")


def nothing(base: Path) -> str:
    """Return the line for an empty list, which does not mean that nothing runs: each user has a directory, of mode 0700."""
    return f"no migration or daemon of this user is running here ({directory(base)}); those of other users are not shown"
