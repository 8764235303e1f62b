"""
How option texts are read, and the options that say which migration is meant; whatever has them makes the same settings of them.

Our own parsers are imported when there is something to read: ``--help`` needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nbdtun.errors import ConfigError

if TYPE_CHECKING:
    from nbdtun.config import MigrateSettings, Owner
    from nbdtun.config.timeouts import Timeout
    from nbdtun.migration.settings import Belonging, Strategy

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

_Command = TypeVar("_Command", bound=Callable[..., Any])


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
    from nbdtun.units import parse_size

    return parse_size(text)


def _rate(text: str) -> int:
    from nbdtun.units import parse_rate

    return parse_rate(text)


def _any_rate(text: str) -> int:
    from nbdtun.config.timeouts import parse_any_rate

    return parse_any_rate(text)


def _duration(text: str) -> float:
    from nbdtun.units import parse_duration

    return parse_duration(text)


def _owner(text: str) -> Owner:
    from nbdtun.config import Owner

    return Owner.parse(text)


def _timeout(text: str) -> Timeout:
    from nbdtun.config.timeouts import parse_timeout

    return parse_timeout(text)


def _limit(text: str) -> float | None:
    from nbdtun.config.timeouts import parse_limit

    return parse_limit(text)


def _strategies(text: str) -> frozenset[Strategy]:
    from nbdtun.config.timeouts import parse_strategies

    return parse_strategies(text)


def _belongings(text: str) -> frozenset[Belonging]:
    from nbdtun.config.belongings import parse_belongings

    return parse_belongings(text)


TIMEOUT, LIMIT, STRATEGIES = _Read("[PHASE=]TIME", _timeout), _Read("TIME", _limit), _Read("NAME,...", _strategies)
ANY_RATE, BELONGINGS = _Read("SIZE", _any_rate), _Read("NAME,...", _belongings)
SIZE, RATE, DURATION, OWNER = _Read("SIZE", _size), _Read("SIZE", _rate), _Read("TIME", _duration), _Read("USER[:GROUP]", _owner)

_WANTED = ("bandwidth", "downtime", "converge", "max_downtime", "keep_source", "allowed")
_MIGRATION = (
    click.argument("vm", metavar="VM"),
    click.option("--qmp", metavar="SOCKET", required=True, help="QMP socket of the VM, at the source."),
    click.option("--to", "connect", metavar="ENDPOINT", required=True, help="Where the destination listens, such as tcp:HOST:10810."),
    click.option("--tls-dir", metavar="DIR", help="Directory with ca-cert.pem, client-cert.pem and client-key.pem."),
    click.option("--tls-name", metavar="NAME", help="Name that the destination's certificate must have.  [default: the host of --to]"),
    click.option("--insecure", is_flag=True, help="Use an endpoint that others can reach even without TLS."),
    click.option(
        "--disk", "disks", metavar="NODE", multiple=True, help="Disk to migrate; may be given often.  [default: all writable ones]"
    ),
    click.option(
        "--allow-mismatch",
        "allowed",
        metavar="NAME",
        multiple=True,
        help="Move it although the two machines differ in this: a name that check tells, such as cpu or a device's id; may be given often.",
    ),
    click.option(
        "--leave-behind",
        type=BELONGINGS,
        multiple=True,
        help="What the disks' images may lose, instead of being refused: snapshots (internal ones), bitmaps (persistent ones), or both.",
    ),
    click.option("--bandwidth", type=RATE, help="Bytes per second that it may use, such as 500MiB.  [default: no limit]"),
    click.option("--downtime", type=DURATION, default="300ms", show_default=True, help="Pause of the guest that QEMU aims at."),
    click.option(
        "--converge",
        type=STRATEGIES,
        default=frozenset(),
        help="What helps if the guest changes faster than it can be copied: write-blocking, auto-converge, downtime, or several of them.",
    ),
    click.option(
        "--max-downtime", type=DURATION, default="5s", show_default=True, help="Up to where --converge downtime raises --downtime."
    ),
    click.option(
        "--timeout",
        "timeouts",
        type=TIMEOUT,
        multiple=True,
        help="How long the migration, or one of its phases, may last; may be given often. none: no limit.  "
        "[default: prepare=5min, ready=5min, switchover=2min]",
    ),
    click.option(
        "--stall-timeout", "stall", type=LIMIT, default="5min", show_default=True, help="How long no byte may move. none: no limit."
    ),
    click.option(
        "--on-timeout",
        type=click.Choice(["cancel", "force"]),
        default="cancel",
        show_default=True,
        help="What --timeout does while disks or memory are copied: cancel the migration, or pause the guest until it has ended.",
    ),
    click.option("--run-dir", metavar="DIR", help="Directory for the sockets that QEMU connects to.  [default: a fresh one]"),
    click.option("--socket-owner", type=OWNER, help="User that QEMU runs as, to give those sockets to."),
    click.option("--resume-window", type=DURATION, default="300s", show_default=True, help="How long to try to restore a lost link."),
    click.option("--link-timeout", type=DURATION, default="15s", show_default=True, help="Silence after which a link counts as lost."),
    click.option("--handshake-timeout", type=DURATION, default="10s", show_default=True, help="How long a new connection may take."),
    click.option("--window", type=SIZE, default="16MiB", show_default=True, help="Unacknowledged bytes per channel and direction."),
)


def migration_options(command: _Command) -> _Command:
    """Give ``command`` the VM and the options that say how it is moved; :func:`read_settings` reads them."""
    for option in reversed(_MIGRATION):
        command = option(command)
    return command


def read_settings(*, vm: str, qmp: str, connect: str, disks: tuple[str, ...], **options: Any) -> MigrateSettings:
    """
    The settings of the migration that the options mean.

    :raise ConfigError: there can be none.
    """
    from nbdtun.config import MigrateSettings, TunnelSettings
    from nbdtun.config.belongings import all_of
    from nbdtun.config.timeouts import make_timeouts
    from nbdtun.migration.settings import MigrationSettings

    timeouts = make_timeouts(options.pop("timeouts"), options.pop("stall"), options.pop("on_timeout"))
    wanted = {name: options.pop(name) for name in _WANTED if name in options}
    leave = all_of(options.pop("leave_behind"))
    migration = MigrationSettings(vm=vm, disks=disks or None, timeouts=timeouts, leave_behind=leave, **wanted)
    return MigrateSettings(tunnel=TunnelSettings(**options), connect=connect, qmp=qmp, migration=migration)
