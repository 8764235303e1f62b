"""
The ``nbdtun`` command.

What it needs is imported when it is needed: ``--help`` answers at once, and no reactor is installed by an import. All that goes wrong
is one line on standard error, with the status that its kind has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from nbdtun import __version__
from nbdtun.errors import ConfigError, NbdtunError

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from nbdtun.certs import Issued
    from nbdtun.config import MigrateSettings, Owner, TunnelSettings

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


class _Read(_ParamType):
    """A value that one of our own parsers reads, imported when it has something to read."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a :exc:`ConfigError` is a wrong option."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _size(text: str) -> int:
    from nbdtun.sizes import parse_size

    return parse_size(text)


def _rate(text: str) -> int:
    from nbdtun.sizes import parse_rate

    return parse_rate(text)


def _duration(text: str) -> float:
    from nbdtun.sizes import parse_duration

    return parse_duration(text)


def _owner(text: str) -> Owner:
    from nbdtun.config import Owner

    return Owner.parse(text)


SIZE, RATE, DURATION, OWNER = _Read("SIZE", _size), _Read("SIZE", _rate), _Read("TIME", _duration), _Read("USER[:GROUP]", _owner)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nbdtun", message="%(prog)s %(version)s")
def command() -> None:
    """Move running QEMU virtual machines, with their disks, to another host through one encrypted port.

    The tunnel's two ends are twistd plugins: see twistd nbdtun-source --help and twistd nbdtun-dest --help.
    """


@command.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--host", "hosts", metavar="NAME-or-IP", multiple=True, required=True, help="Name or address of the destination. May be given often."
)
@click.option("--force", is_flag=True, help="Replace the certificates of both ends. The CA is kept.")
def certs(directory: str, hosts: tuple[str, ...], force: bool) -> None:
    """Make a CA, and the certificates of both ends, in DIR.

    The files have the names that QEMU and libvirt use. A CA that is in DIR already signs the new certificates.
    """
    from nbdtun.certs import make

    click.echo(_account(make(directory, hosts, force=force)))


def _account(issued: Issued) -> str:
    return (
        f"{'A new CA' if issued.new_authority else 'The CA that was there'} has signed for both ends, until {issued.expires:%Y-%m-%d}. "
        f"In {issued.directory}:\n"
        "  for the destination  ca-cert.pem  server-cert.pem  server-key.pem\n"
        "  for the source       ca-cert.pem  client-cert.pem  client-key.pem\n"
        "  for nobody else      ca-key.pem   signs more certificates; needed by neither daemon"
    )


@command.command()
@click.argument("vm", metavar="VM")
@click.option("--qmp", metavar="SOCKET", required=True, help="QMP socket of the VM, at the source.")
@click.option("--to", "connect", metavar="ENDPOINT", required=True, help="Where the destination listens, such as tcp:HOST:10810.")
@click.option("--tls-dir", metavar="DIR", help="Directory with ca-cert.pem, client-cert.pem and client-key.pem.")
@click.option("--tls-name", metavar="NAME", help="Name that the destination's certificate must have.  [default: the host of --to]")
@click.option("--insecure", is_flag=True, help="Use an endpoint that others can reach even without TLS.")
@click.option("--disk", "disks", metavar="NODE", multiple=True, help="Disk to migrate; may be given often.  [default: all writable ones]")
@click.option("--bandwidth", type=RATE, help="Bytes per second that it may use, such as 500MiB.  [default: no limit]")
@click.option("--downtime", type=DURATION, default="300ms", show_default=True, help="Pause of the guest that QEMU aims at.")
@click.option("--resolve", is_flag=True, help="After an exit status of 3: ask the destination again, and end it one way or the other.")
@click.option("--keep-source", is_flag=True, help="Leave the source QEMU there, paused, instead of ending it.")
@click.option("--progress", type=click.Choice(["bar", "json", "none"]), default="bar", show_default=True, help="How to show progress.")
@click.option("--run-dir", metavar="DIR", help="Directory for the sockets that QEMU connects to.  [default: a fresh one]")
@click.option("--socket-owner", type=OWNER, help="User that QEMU runs as, to give those sockets to.")
@click.option("--resume-window", type=DURATION, default="300s", show_default=True, help="How long to try to restore a lost link.")
@click.option("--link-timeout", type=DURATION, default="15s", show_default=True, help="Silence after which a link counts as lost.")
@click.option("--window", type=SIZE, default="16MiB", show_default=True, help="Unacknowledged bytes per channel and direction.")
def migrate(progress: str, resolve: bool, **options: Any) -> int:
    """Move VM, which runs here, to the QEMU that waits for it at the destination.

    VM is the name under which the destination's daemon knows it (twistd nbdtun-dest --vm VM=SOCKET). That QEMU was started with -S
    -incoming defer and the same devices.

    \b
    Exit status: 0  it runs at the destination
                 1  it failed, and runs on at the source as before
                 2  wrong usage
                 3  it is paused at the source, and the destination cannot be asked
               130  interrupted, and runs on at the source as before
    """
    from nbdtun.attend import attend
    from nbdtun.display import make_display

    settings = _settings(**options)
    display = make_display(progress, settings.migration.vm)
    _log_to_stderr(bars=progress == "bar")
    from twisted.internet import reactor

    from nbdtun import service

    return attend(reactor, partial(service.resolve if resolve else service.migrate, reactor, settings), display)


def _settings(*, vm: str, qmp: str, connect: str, disks: tuple[str, ...], **options: Any) -> MigrateSettings:
    from nbdtun.config import MigrateSettings
    from nbdtun.migration.settings import MigrationSettings

    wanted = {name: options.pop(name) for name in ("bandwidth", "downtime", "keep_source")}
    migration = MigrationSettings(vm=vm, disks=disks or None, **wanted)
    return MigrateSettings(tunnel=_tunnel(options), connect=connect, qmp=qmp, migration=migration)


def _tunnel(options: dict[str, Any]) -> TunnelSettings:
    from nbdtun.config import TunnelSettings

    return TunnelSettings(**options)


def _log_to_stderr(*, bars: bool) -> None:
    """
    What the migration has to say beside its progress, as lines, which bars make room for; and when a link goes and comes back, which bars
    show.

    How a channel ends is not told here: if that matters, it is the reason of the migration's own end.
    """
    from twisted.logger import FilteringLogObserver, ILogObserver, LogLevel, LogLevelFilterPredicate, eventAsText, globalLogBeginner
    from zope.interface import provider

    @provider(ILogObserver)
    def complain(event: LogEvent) -> None:
        print(f"nbdtun: {eventAsText(event, includeTimestamp=False, includeSystem=False)}", file=sys.stderr, flush=True)

    levels = LogLevelFilterPredicate(LogLevel.critical)
    for namespace in ["nbdtun.migration"] if bars else ["nbdtun.migration", "nbdtun.tunnel.channel"]:
        levels.setLogLevelForNamespace(namespace, LogLevel.info)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(complain, [levels])], redirectStandardIO=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        click.echo(command.get_help(click.Context(command, info_name="nbdtun")), err=True)
        return 2
    try:
        status = command.main(arguments, prog_name="nbdtun", standalone_mode=False)
    except click.ClickException as error:
        status = _fail(error.format_message(), error.exit_code)
    except ConfigError as error:
        status = _fail(str(error), 2)
    except NbdtunError as error:
        status = _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        status = _fail("interrupted", 130)
    except OSError as error:
        status = _fail(str(error), 1)
    return _flushed(int(status or 0))


def _flushed(status: int) -> int:
    """Return ``status``, with nothing left to write: a reader that has gone away must not change it as Python exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def _fail(text: str, status: int) -> int:
    print(f"nbdtun: {' '.join(text.split())}", file=sys.stderr)
    return status
