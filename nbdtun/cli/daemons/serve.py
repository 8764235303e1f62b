"""
``nbdtun dest`` and ``nbdtun source``: the two daemons in the foreground, with their log on standard error.

They run the services of the twistd plugins, from the same options, without twistd's own options, pidfile and log file.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from nbdtun.cli.options import SpelledOut, values
from nbdtun.config.option import Option
from nbdtun.config.options import DESTINATION, LOG_FORMAT, LOG_LEVEL, PROCESS, SOURCE


def _daemon(name: str, tap: str, declared: tuple[Option, ...], help: str) -> click.Command:
    """Make the subcommand that runs the daemon of the module ``tap``."""

    def run(**given: Any) -> None:
        serve(tap, list(_words(every, given)))

    every = (*declared, *PROCESS)

    texts: list[click.Parameter] = [
        click.Option(
            [f"--{each.name}"],
            is_flag=not each.metavar,
            metavar=each.metavar or None,
            multiple=each.repeatable,
            help=each.described,
            shell_complete=values(each),
        )
        for each in every
    ]
    return SpelledOut(name, callback=run, params=texts, help=help, short_help=help.partition(",")[0] + ".")


def _words(declared: tuple[Option, ...], given: dict[str, Any]) -> Any:
    """The command line again, as the daemon's own options read it."""
    for option in declared:
        value = given[option.key]
        if not option.metavar:
            yield from [f"--{option.name}"] * bool(value)
        else:
            for text in value if option.repeatable else [value] * (value is not None):
                yield f"--{option.name}={text}"


def serve(tap: str, words: list[str]) -> None:
    """
    Run the daemon of the module ``tap`` with the options ``words``, until a signal ends it.

    :raise ConfigError: the options are not valid.
    :raise SystemExit: always: it has ended, with its status.
    """
    from importlib import import_module

    from nbdtun import __version__
    from nbdtun.daemon.log import log_to
    from nbdtun.logs import make_logger

    module = import_module(tap)
    options = module.Options()
    options.read(words)
    from twisted.internet import reactor

    daemon = module.makeService(options)
    set_level = log_to(sys.stderr, options.value(LOG_FORMAT), options.value(LOG_LEVEL))
    if daemon.reload is not None:
        daemon.reload.set_level = set_level
    daemon.privilegedStartService()
    daemon.startService()
    make_logger().info("nbdtun {version}: {account}", version=__version__, account=options.account())
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    reactor.run()
    raise SystemExit(0)  # and not the status of main(): a daemon that leaves by itself has set its own


dest = _daemon(
    "dest",
    "nbdtun.daemon.dest_tap",
    DESTINATION,
    """Run the destination's daemon, on the host that VMs move to.

    It listens on one encrypted port. It receives the VMs of --vm, whose QEMUs are started with -S -incoming defer, and connects the
    source's channels to the sockets of --target. With --libvirt it receives VMs of libvirt's. Nothing else can be reached, whatever a
    peer sends.

    \b
    Exit status: 0  stopped by a signal
                 1  it could not start, for example as the port is taken
                 2  wrong usage
    """,
)

source = _daemon(
    "source",
    "nbdtun.daemon.source_tap",
    SOURCE,
    """Run the source's daemon, on the host that VMs leave.

    Each connection to a --forward's socket becomes a channel to the destination's target of that name. With --migrate, it migrates a
    running VM; without --forward, it then ends.

    \b
    Exit status: 0  stopped by a signal; or the VM runs at the destination
                 1  it could not start; or the migration failed, and the VM is still running here
                 2  wrong usage
                 3  outcome unknown; the VM is paused here: use nbdtun migrate --resolve
               130  the migration was cancelled
    """,
)
