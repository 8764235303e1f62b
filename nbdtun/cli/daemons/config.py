"""``nbdtun config``: looks at the daemons' configuration files without starting anything."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nbdtun.cli.streams import complain
from nbdtun.errors import ConfigError
from nbdtun.ownership.given import is_there

if TYPE_CHECKING:
    from nbdtun.daemon.options import DeclaredOptions

#: The modules of the daemons, by the names of their subcommands.
TAPS: Final = {"dest": "nbdtun.daemon.dest_tap", "source": "nbdtun.daemon.source_tap"}


@click.group("config", short_help="Check configuration files.", no_args_is_help=False)
def command() -> None:
    """Check the daemons' configuration files."""


@command.command("check", short_help="Check configuration files.", context_settings={"ignore_unknown_options": True})
@click.option("--daemon", type=click.Choice([*TAPS]), help="The daemon that FILE is for. [default: by the name of FILE]")
@click.argument("file", metavar="[FILE]", required=False)
@click.argument("words", metavar="[-- OPTION...]", nargs=-1, type=click.UNPROCESSED)
def check(daemon: str | None, file: str | None, words: tuple[str, ...]) -> int:
    """Check FILE, or /etc/nbdtun/dest.toml and /etc/nbdtun/source.toml, and the certificates that they name.

    Options that the daemon's own command line has besides can be given after --, such as -- --listen 10810.

    \b
    Exit status: 0  a daemon could use them
                 2  it could not; or wrong usage
    """
    checked = _present() if file is None else [(daemon or _daemon_of(file), file)]
    usable = [_can_use(*each, words) for each in checked]
    return 0 if all(usable) else 2


def _present() -> list[tuple[str, str]]:
    """The usual files that are there."""
    usual = {name: _options(tap).usual_file for name, tap in TAPS.items()}
    found = [(name, path) for name, path in usual.items() if is_there(path)]
    if not found:
        raise ConfigError(f"neither {' nor '.join(usual.values())} is there", "name a file")
    return found


def _daemon_of(file: str) -> str:
    """The daemon that a file is for, by its name."""
    found = [name for name in TAPS if name in Path(file).name]
    if len(found) != 1:
        raise ConfigError(f"{file}: its name does not say which daemon it is for", "give --daemon dest or --daemon source")
    return found[0]


def _options(tap: str) -> DeclaredOptions:
    made: DeclaredOptions = import_module(tap).Options()
    return made


def _can_use(daemon: str, file: str, words: tuple[str, ...]) -> bool:
    """Whether it can be used; says so, or why not."""
    options = _options(TAPS[daemon])
    try:
        options.read([f"--config={file}", *words])
        options.look()
    except ConfigError as error:
        complain(error.line if str(error).startswith(file) else f"{file}: {error.line}")
        return False
    click.echo(f"{file}: nbdtun {daemon} can use it: {options.account()}")
    return True
