"""
The options of :mod:`nbdtun.config.options` as options of the command, and those that select a migration.

A parser is imported when there is a value to parse: ``--help`` needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from nbdtun.config import options as shared
from nbdtun.config.option import Option, parser, spelled_out
from nbdtun.errors import ConfigError

if TYPE_CHECKING:
    from nbdtun.config import MigrateSettings
    from nbdtun.config.libvirt import DomainSettings

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Read(_ParamType):
    """A value for one of our own parsers, ``module:function``, which is imported when there is a value."""

    def __init__(self, name: str, parse: str) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text; a :exc:`ConfigError` becomes a usage error."""
        if not isinstance(value, str):
            return value
        try:
            return parser(self._parse)(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class _Checked(_Read):
    """The same, but the value stays the text that it is: another process will read it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the text."""
        super().convert(value, param, ctx)
        return value


def read(name: str, parse: str) -> click.ParamType[Any]:
    """Return the type of values that ``module:function`` parses."""
    return _Read(name, parse)


def checked(declared: Option, text: str = "") -> Callable[[_Command], _Command]:
    """Give a command a shared option whose value stays a text; ``text`` is its help here, if that differs."""
    words = (f"--{declared.name}",)
    told = text or declared.text + (f"  [default: {declared.default}]" if declared.default else "")
    if not declared.metavar:
        return click.option(*words, is_flag=True, help=told)
    kind = _Checked(declared.metavar, declared.parse) if declared.parse else str
    return click.option(*words, type=kind, metavar=declared.metavar, multiple=declared.repeatable, help=told)


ANY_RATE, DURATION = _Read("RATE", "nbdtun.config.timeouts:parse_any_rate"), _Read("TIME", "nbdtun.units:parse_duration")
#: A destination, as text.
DESTINATION = _Read("ENDPOINT", "nbdtun.config.endpoints:check_destination")
MOMENT = _Read("TIME", "nbdtun.config.moments:parse_moment")


#: The kind of completion in a shell, by the placeholder of a value.
_FILES = {"SOCKET": "file", "FILE": "file", "DIR": "dir"}


class Monitor(click.Option):
    """The monitor of the VM, which is missing unless the VM is one of libvirt's."""

    def handle_parse_result(self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]) -> tuple[Any, list[str]]:
        """Look for it among the options ``opts`` that are given."""
        self.required = shared.LIBVIRT.key not in opts
        return super().handle_parse_result(ctx, opts, args)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Its line of the help, which says when it is required."""
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("[required]", "[required without --libvirt]"))


def values(declared: Option) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Make what a shell completes for the value of an option: files, directories, or the words that it can be."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if kind := _FILES.get(declared.metavar):
            return [CompletionItem(incomplete, type=kind)]
        words = declared.metavar.split("|") if "|" in declared.metavar else []
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return complete


def option(
    declared: Option, *names: str, required: bool = False, kind: type[click.Option] = click.Option
) -> Callable[[_Command], _Command]:
    """Give a command a shared option; ``names`` are its names here, if they differ."""
    words = names or (f"--{declared.name}",)
    if not declared.metavar:
        return click.option(*words, is_flag=True, help=declared.text)
    standing: dict[str, Any] = {} if declared.default is None else {"default": declared.default, "show_default": True}
    return click.option(
        *words,
        cls=kind,
        type=_Read(declared.metavar, declared.parse) if declared.parse else str,
        metavar=declared.metavar,
        multiple=declared.repeatable,
        required=required,
        help=declared.text,
        shell_complete=values(declared),
        **standing,
    )


_MIGRATION = (
    click.argument("vm", metavar="VM"),
    option(shared.QMP, required=True, kind=Monitor),
    option(shared.CONNECT, "--to", "connect", required=True),
    option(shared.CODE),
    *map(
        option,
        (
            *shared.DOMAIN,
            *shared.FAR,
            *shared.MAKING,
            *shared.TRUST,
            shared.TLS_NAME,
            shared.BANDWIDTH,
            *shared.MIGRATION,
            *shared.SOCKETS,
            *shared.TERMS,
        ),
    ),
)


def migration_options(command: _Command) -> _Command:
    """Give ``command`` the VM and the options of its migration; :func:`read_settings` reads them."""
    for decorate in reversed(_MIGRATION):
        command = decorate(command)
    return command


class SpelledOut(click.Command):
    """A command of whose options some can be given without their values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, spelled_out(args, (*shared.DOMAIN, *shared.DESTINATION)))


def read_settings(*, vm: str, qmp: str | None, connect: str, **given: Any) -> MigrateSettings | DomainSettings:
    """
    Make the settings of a migration from its options.

    :raise ConfigError: the options do not fit.
    """
    from nbdtun.config.build import settings_of

    return settings_of(vm, qmp, connect, given)
