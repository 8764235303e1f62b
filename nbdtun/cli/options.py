"""
How the command has the options of :mod:`nbdtun.config.options`, and those that say which migration is meant.

Parsers are imported when there is something to read: ``--help`` needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nbdtun.config import options as shared
from nbdtun.config.options import Option, parser
from nbdtun.errors import ConfigError

if TYPE_CHECKING:
    from nbdtun.config import MigrateSettings

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Read(_ParamType):
    """A value that one of our own parsers reads, ``module:function``, imported when it has something to read."""

    def __init__(self, name: str, parse: str) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a :exc:`ConfigError` is a wrong option."""
        if not isinstance(value, str):
            return value
        try:
            return parser(self._parse)(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


ANY_RATE, DURATION = _Read("SIZE", "nbdtun.config.timeouts:parse_any_rate"), _Read("TIME", "nbdtun.units:parse_duration")


def option(declared: Option, *names: str, required: bool = False) -> Callable[[_Command], _Command]:
    """Give a command an option that is declared for all faces; ``names`` are other names for it here."""
    words = names or (f"--{declared.name}",)
    if not declared.metavar:
        return click.option(*words, is_flag=True, help=declared.text)
    standing: dict[str, Any] = {} if declared.default is None else {"default": declared.default, "show_default": True}
    return click.option(
        *words,
        type=_Read(declared.metavar, declared.parse) if declared.parse else str,
        metavar=declared.metavar,
        multiple=declared.repeatable,
        required=required,
        help=declared.text,
        **standing,
    )


_MIGRATION = (
    click.argument("vm", metavar="VM"),
    option(shared.QMP, required=True),
    option(shared.CONNECT, "--to", "connect", required=True),
    *map(option, (*shared.TRUST, shared.TLS_NAME, shared.BANDWIDTH, *shared.MIGRATION, *shared.SOCKETS, *shared.TERMS)),
)


def migration_options(command: _Command) -> _Command:
    """Give ``command`` the VM and the options that say how it is moved; :func:`read_settings` reads them."""
    for decorate in reversed(_MIGRATION):
        command = decorate(command)
    return command


def read_settings(*, vm: str, qmp: str, connect: str, **given: Any) -> MigrateSettings:
    """
    The settings of the migration that the options mean.

    :raise ConfigError: there can be none.
    """
    from nbdtun.config import MigrateSettings
    from nbdtun.config.build import migration_settings, tunnel_settings

    tunnel = tunnel_settings({**given, "bandwidth": None})  # QEMU keeps to it here, which counts what it sends
    return MigrateSettings(tunnel=tunnel, connect=connect, qmp=qmp, migration=migration_settings(vm, given))
