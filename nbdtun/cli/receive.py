"""
``nbdtun receive``: the far end that ``--to ssh://HOST`` starts; or without ssh, one that a code leads to.

In an ssh session it is a relay between the session's standard input and output, and the door of a receiver. If there is none, it begins one
first: a process of its own, in its own session, which a torn ssh session does not end.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO, cast

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import SpelledOut, option
from nbdtun.cli.streams import complain
from nbdtun.config.options import ADMIT, INCOMING, LIBVIRT, LISTEN, RUN_DIR, WITHIN

_WAYS: Final = ("start", "join", "serve")


@click.command("receive", cls=SpelledOut, short_help="Receive one VM from a source that has a code.")
@click.argument("name", metavar="VM")
@option(LISTEN)
@option(INCOMING)
@option(LIBVIRT)
@option(ADMIT)
@option(WITHIN)
@click.option("--over-ssh", type=click.Choice(_WAYS), help="For ssh: start a receiver if there is none; only join one; or be one.")
@option(RUN_DIR)
def command(name: str, over_ssh: str | None, run_dir: str | None, **offer: Any) -> int:
    """Print a code, and receive one VM from the source that gives it: in the QEMU that waits for the VM here, in one that is made, or with
    --libvirt in libvirt.

    The source runs nbdtun migrate VM --to HOST --code CODE, and plan and check before that, as often as it likes. A wrong code ends it.
    Anyone with the code can have QEMU started here, as the user who runs this command; with --incoming, nothing is made. It waits on port
    10810, or where --listen says. If its terminal is closed while a source is here, it goes on until that source has left.

    nbdtun migrate --to ssh://HOST runs this command with --over-ssh, at the other end of ssh.

    \b
    Exit status: 0  the VM has arrived; or the connection by ssh has ended
                 1  nobody came with the code, or with a wrong one
                 2  wrong usage
               130  interrupted
    """
    if over_ssh is None:
        return _offer(name, run_dir, **offer)
    from nbdtun.config.names import check_name
    from nbdtun.errors import ReachError
    from nbdtun.login import base_beyond_logout
    from nbdtun.reach.relay import NOBODY, relay
    from nbdtun.service.local.base import base_of

    base, name = base_beyond_logout(base_of(run_dir)), check_name(name)
    if over_ssh == "serve":
        return _receive(base, name, run_dir, socket.socket(fileno=os.dup(0)))
    sock = _join(base, name)
    if sock is None:
        if over_ssh == "join":
            raise ReachError(f"{NOBODY} {name} there any more")
        sock = _begin(base, name, run_dir)
    relay(sock)
    return 0


def _offer(name: str, run_dir: str | None, listen: str | None, incoming: str | None, within: float, **domain: Any) -> int:
    """Wait for a source that has the code."""
    from nbdtun.config.addresses import PORT
    from nbdtun.config.names import check_name
    from nbdtun.service.offered import OfferSettings, Standing

    libvirt, admit = domain["libvirt"] or "", tuple(domain["admit"])
    settings = OfferSettings(check_name(name), listen or f"{PORT}", incoming or "", run_dir, within, libvirt, admit)
    _outlive_the_login()
    log_to_stderr(bars=False)
    from twisted.internet import reactor

    from nbdtun.cli.reactor import run
    from nbdtun.process import make_room, needed, settle_in
    from nbdtun.tunnel.settings import Limits

    settle_in(reactor)
    make_room(needed(Limits().channels, Limits().handshakes))
    standing = Standing(reactor, settings, complain)
    with _kept_lines(name, run_dir) as keep:

        def hang_up() -> None:
            keep()  # what nothing is printed to can still fail as Python ends
            standing.hang_up()

        run(reactor, standing.begin, {signal.SIGINT: standing.cancel, signal.SIGTERM: standing.cancel, signal.SIGHUP: hang_up})
    return 0


def _outlive_the_login() -> None:
    """Leave the session whose end would end this process, if that is possible; the terminal stays."""
    from nbdtun.errors import ReachError
    from nbdtun.login import in_a_scope, is_ended_at_logout

    if is_ended_at_logout():
        try:
            spared = in_a_scope(sys.orig_argv)
        except ReachError as error:
            complain(f"{error}")
        else:
            os.execvp(spared[0], spared)


@contextmanager
def _kept_lines(name: str, run_dir: str | None) -> Iterator[Callable[[], None]]:
    """The lines go to a log when the terminal is gone; yields what looks whether it is, as each line does."""
    from nbdtun.cli.detached import Terminal, open_log
    from nbdtun.cli.streams import before_complaint
    from nbdtun.service.local.base import base_of

    terminal = Terminal(lambda: open_log(f"receive-{name}", base_of(run_dir)))

    def look() -> None:
        terminal.leave(lambda: None)

    before_complaint.append(look)
    try:
        yield look
    finally:
        before_complaint.remove(look)


def _join(base: Path, name: str) -> socket.socket | None:
    """A connection to the door of the receiver; None if there is none."""
    from nbdtun.ownership.reach import reach
    from nbdtun.reach.relay import door_path

    with suppress(OSError):
        return reach(f"{door_path(base, name)}", {os.geteuid()})
    return None


def _begin(base: Path, name: str, run_dir: str | None) -> socket.socket:
    """Begin a receiver; returns a connection to it. A login manager may have to be told to spare it."""
    from nbdtun.login import in_a_scope, is_ended_at_logout

    spared = in_a_scope(serving(sys.orig_argv)) if is_ended_at_logout() else None
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


def serving(words: Sequence[str]) -> list[str]:
    """The command line of this command as that of a receiver. A VM may be called ``start`` too."""
    at = max(number for number, word in enumerate(words) if word == "start")
    return [*words[:at], "serve", *words[at + 1 :]]


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
    from nbdtun.service.door import serve_at_door
    from nbdtun.service.local.outcomes import state_dir
    from nbdtun.service.receive import Receiver
    from nbdtun.tunnel.settings import Limits

    settle_in(reactor)
    make_room(needed(Limits().channels, Limits().handshakes))
    log_to(cast("TextIO", open_log(f"receive-{name}", base)), "bare", "info")
    receiver = Receiver.of(reactor, name, base, state_dir(run_dir))
    run(reactor, lambda: Deferred.fromCoroutine(serve_at_door(receiver, first, lambda: _lead_nowhere(2))))
    if receiver.done:  # its log tells nothing that its source has not told
        remove_file(f"{base}/receive-{name}.log")


def _lead_nowhere(*descriptors: int) -> None:
    """Let go of what is the ssh session's."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
