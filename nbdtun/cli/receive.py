"""
``nbdtun receive``: the far end that ``--to ssh://HOST`` starts.

In an ssh session it is a relay between the session's standard input and output, and the door of a receiver. If there is none, it begins one
first: a process of its own, in its own session, which a torn ssh session does not end.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO, cast

import click

from nbdtun.cli.options import option
from nbdtun.cli.streams import complain
from nbdtun.config.options import RUN_DIR

_WAYS: Final = ("start", "join", "serve")


@click.command("receive", short_help="Receive one VM, as the far end of ssh.")
@click.argument("name", metavar="VM")
@click.option("--over-ssh", type=click.Choice(_WAYS), required=True, help="Start a receiver if there is none; only join one; or be one.")
@option(RUN_DIR)
def command(name: str, over_ssh: str, run_dir: str | None) -> int:
    """Receive the VM that nbdtun migrate --to ssh://HOST sends. That command runs this one, at the other end of ssh.

    \b
    Exit status: 0  the connection has ended
                 1  there is no receiver to join, or it could not start
                 2  wrong usage
    """
    from nbdtun.config.values import check_name
    from nbdtun.errors import ReachError
    from nbdtun.reach.relay import NOBODY, relay
    from nbdtun.reach.session import base_beyond_logout
    from nbdtun.service.local.rundir import base_of

    base = base_beyond_logout(base_of(run_dir))
    if over_ssh == "serve":
        return _receive(base, name, run_dir, socket.socket(fileno=os.dup(0)))
    sock = _join(base, check_name(name))
    if sock is None:
        if over_ssh == "join":
            raise ReachError(f"{NOBODY} {name} there any more")
        sock = _begin(base, name, run_dir)
    relay(sock)
    return 0


def _join(base: Path, name: str) -> socket.socket | None:
    """A connection to the door of the receiver; None if there is none."""
    from nbdtun.ownership.reach import reach
    from nbdtun.reach.relay import door_path

    with suppress(OSError):
        return reach(f"{door_path(base, name)}", {os.geteuid()})
    return None


def _begin(base: Path, name: str, run_dir: str | None) -> socket.socket:
    """Begin a receiver; returns a connection to it. A login manager may have to be told to spare it."""
    from nbdtun.reach.session import in_a_scope, is_ended_at_logout

    spared = in_a_scope([word if word != "start" else "serve" for word in sys.orig_argv]) if is_ended_at_logout() else None
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    status = 1
    try:
        ours.close()
        if spared is not None:
            os.dup2(theirs.fileno(), 0)
            os.execvp(spared[0], spared)
        status = _receive(base, name, run_dir, theirs)
    except SystemExit:
        pass
    finally:
        os._exit(status)


def _receive(base: Path, name: str, run_dir: str | None, first: socket.socket) -> int:
    """Be the receiver, in a session of its own. Until its door is open, errors go to the ssh session."""
    with suppress(OSError):  # systemd-run has done so
        os.setsid()
    _lead_nowhere(0, 1)
    from nbdtun.errors import NbdtunError

    try:
        _serve(base, name, run_dir, first)
    except NbdtunError as error:
        complain(error.line)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _serve(base: Path, name: str, run_dir: str | None, first: socket.socket) -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from nbdtun.cli.detached import open_log
    from nbdtun.cli.reactor import run
    from nbdtun.daemon.log import log_to
    from nbdtun.ownership.files import remove_file
    from nbdtun.process import make_room, needed, settle_in
    from nbdtun.service.local.outcomes import Outcomes, state_dir
    from nbdtun.service.receive import Receiver
    from nbdtun.spawn.far.maker import Maker
    from nbdtun.tunnel.settings import Limits

    settle_in(reactor)
    make_room(needed(Limits().channels, Limits().handshakes))
    log_to(cast("TextIO", open_log(f"receive-{name}", base)), "bare", "info")
    receiver = Receiver(reactor, name, base, Outcomes(state_dir(run_dir)), Maker(reactor))
    run(reactor, lambda: Deferred.fromCoroutine(receiver.run(first, lambda: _lead_nowhere(2))))
    if receiver.done:  # its log tells nothing that its source has not told
        remove_file(f"{base}/receive-{name}.log")


def _lead_nowhere(*descriptors: int) -> None:
    """Let go of what is the ssh session's."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
