"""
The ``nbdtun`` command: one module for each of its subcommands.

From the ground up:

    streams  standard input, output and error, which may be closed or fail
    reactor  a reactor for one piece of work, which a signal cancels
    log      log lines on standard error, beside the progress
    options  the shared options, as options of this command
    remote   for the commands that ask another process, and the names that a shell completes for them
    detached where the lines of a command go whose terminal has gone away
    attend   one migration with its display, signals and exit status
    check, migrate, plan, status, cancel, certs
             the subcommands of these names
    evacuate the subcommand of that name, with its display, signals and exit status
    change   the subcommand `set`
    host     the subcommand `vms`
    daemons  the subcommands of the two daemons
    receive  the subcommand that ssh starts at the far end

Imports are late: ``--help`` answers at once, and no import installs a reactor. Every error is one line on standard error, with the exit
status of its kind.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Final, NoReturn

import click

from nbdtun import __version__
from nbdtun.cli import cancel, certs, change, check, evacuate, migrate, plan, receive, status
from nbdtun.cli.daemons import config, reload, serve
from nbdtun.cli.host import vms
from nbdtun.cli.streams import complain, fill_streams, flushed
from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.ownership.given import in_words


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nbdtun", message="%(prog)s %(version)s")
def command() -> None:
    """Migrate running QEMU virtual machines, with their disks, to another host through one encrypted port.

    The destination runs nbdtun dest, the source runs nbdtun migrate.
    """


for _each in (
    check.command,
    plan.command,
    migrate.command,
    evacuate.command,
    serve.dest,
    serve.source,
    config.command,
    reload.command,
    receive.command,
    status.command,
    vms.command,
    change.command,
    cancel.command,
    certs.command,
):
    command.add_command(_each)


#: What a command's help lists, by the first words of click's error.
_LISTED: Final = {"No such option": "options", "No such command": "commands", "Missing command": "commands"}


def script() -> NoReturn:
    """
    Run the command as a process, and exit.

    Python would search the modules for garbage while it imports them, and take them apart at exit. Together that is a sixth of a second,
    for a command that needs half a second to start.
    """
    gc.set_threshold(20_000)
    os._exit(main())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    fill_streams()
    if not arguments and "_NBDTUN_COMPLETE" not in os.environ:  # a shell asks for completions without arguments
        click.echo(command.get_help(click.Context(command, info_name="nbdtun")), err=True)
        return 2
    try:
        status = command.main(arguments, prog_name="nbdtun", standalone_mode=False)
    except click.ClickException as error:
        status = _fail(ConfigError(_text(error)).line, error.exit_code, ConfigError.code)
    except NbdtunError as error:
        status = _fail(error.line, 2 if isinstance(error, ConfigError) else 1, error.code)
    except (click.Abort, KeyboardInterrupt):
        status = _fail("interrupted", 130)
    except OSError as error:
        status = _fail(in_words(error), 1)
    return flushed(int(status or 0))


def _text(error: click.ClickException) -> str:
    """Its text; and what a missing option is for, or where the names are that would have been right."""
    text = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None and text.endswith("."):
        for beginning, listed in _LISTED.items():
            if text.startswith(beginning) and "Did you mean" not in text:
                return f"{text.rstrip('.')}; `{error.ctx.command_path} --help` lists the {listed}"
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Option) and error.param.help:
        return f"{text.rstrip('.')}: {error.param.help.partition('. ')[0].rstrip('.')}"
    return text


def _fail(text: str, status: int, code: str | None = None) -> int:
    complain(text, "error", **({} if code is None else {"code": code}))
    return status
