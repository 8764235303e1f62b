"""Shared by the commands that ask another process about its migration; and the names that a shell completes for them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from nbdtun.process import Reactor

_T = TypeVar("_T")

RUN_DIR = click.option("--run-dir", metavar="DIR", help="The --run-dir of the running process, if it has one.")


def asked(work: Callable[[Reactor], Coroutine[Any, Any, _T]]) -> _T:
    """
    Run the reactor for ``work``, which takes it as its argument; return the result.

    :raise KeyboardInterrupt: a signal came first.
    """
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from nbdtun.cli.reactor import run

    return run(reactor, lambda: Deferred.fromCoroutine(work(reactor)))


def base(run_dir: str | None) -> Path:
    """The base directory of the control sockets."""
    from nbdtun.service.local.base import base_of

    return base_of(run_dir)


def running(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of this user's running migrations, and of its daemons (``@PID``), that begin with ``incomplete``."""
    from nbdtun.errors import NbdtunError
    from nbdtun.service.control.socket import names

    try:
        found = names(base(context.params.get("run_dir")))
    except (NbdtunError, OSError):
        return []
    return [each.text for each in found if each.text.startswith(incomplete)]


def daemons(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same, of daemons only."""
    return [name for name in running(context, parameter, incomplete) if name.startswith("@")]


def migrations(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same, without daemons."""
    return [name for name in running(context, parameter, incomplete) if not name.startswith("@")]
