"""Asks the migrations and daemons that run on this host, over their control sockets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime

from nbdtun.config.values import check_name
from nbdtun.dialogue import Dialogue
from nbdtun.errors import ConfigError, LinkLost, MigrationError, NoAnswer
from nbdtun.logs import make_logger
from nbdtun.ownership.reach import Reacher
from nbdtun.process import Reactor
from nbdtun.service.control.socket import Cancel, Status, directory, names, socket_of, trustees

#: Seconds to wait for an answer. A healthy process answers at once, but a change may have to wait for QEMU.
ANSWER_SECONDS = 10.0


class Client(Dialogue):
    """A connection to the control socket ``name``."""

    log = make_logger()
    failed = MigrationError
    channel = "control socket"
    here = "in this command"

    def __init__(self, reactor: IReactorTime, name: str) -> None:
        super().__init__(reactor)
        self.other = f"{name}: its process"


async def ask(reactor: Reactor, base: Path, name: str, command: Any = Status, **arguments: int) -> dict[str, Any]:
    """
    Ask the process that migrates the VM ``name``, or the daemon with that process id; return its report.

    :raise ConfigError: there is none.
    :raise NoAnswer: it did not answer in time.
    :raise MigrationError: it ended without answering.
    :raise NbdtunError: the error that it answered with.
    """
    path = _socket(base, name)
    try:
        client = await connectProtocol(Reacher(reactor, path, trustees(base)), Client(reactor, name))
    except PermissionError as error:
        raise ConfigError(f"{name}: {path}: {error.strerror}") from error
    except OSError as error:
        raise ConfigError(f"{name}: no such migration or daemon is running here ({directory(base)}); `nbdtun status` lists them") from error
    try:
        answer = await client.ask(command, seconds=None if command is Cancel else ANSWER_SECONDS, **arguments)
    except NoAnswer as error:
        raise NoAnswer(f"{name}: its process has not answered for {ANSWER_SECONDS:g} s", "is it stopped?") from error
    except LinkLost as error:
        raise MigrationError(f"{name}: its process ended without answering") from error
    finally:
        client.hang_up()
    report: dict[str, Any] = answer["report"]
    return report


async def reports(reactor: Reactor, base: Path) -> list[dict[str, Any]]:
    """
    The reports of all. A process that does not answer has only a ``name`` and an ``error``; one that has just ended has no report.

    :raise ConfigError: ``base`` cannot be read.
    """
    found = []
    for name in names(base):
        try:
            found.append(await ask(reactor, base, name))
        except ConfigError:
            continue
        except (MigrationError, NoAnswer) as error:
            found.append({"name": name, "error": str(error)})
    return found


def _socket(base: Path, name: str) -> str:
    check_name(name.removeprefix("@"))
    daemon = socket_of(base, f"@{name}")
    return daemon if os.path.exists(daemon) else socket_of(base, name)


def nothing(base: Path) -> str:
    """Return the line for an empty list."""
    return f"no migration or daemon is running here ({directory(base)})"
