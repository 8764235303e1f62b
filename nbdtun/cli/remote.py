"""Shared by the commands that ask another process about its migration."""

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
    from nbdtun.service.local.rundir import base_of

    return base_of(run_dir)
