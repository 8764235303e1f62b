"""Shell completion of the names of migrations and daemons that run here."""

from __future__ import annotations

import click


def running(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of this user's running migrations, and the process ids of its daemons, that begin with ``incomplete``."""
    from nbdtun.cli.remote import base
    from nbdtun.errors import NbdtunError
    from nbdtun.service.control.socket import names

    try:
        found = names(base(context.params.get("run_dir")))
    except (NbdtunError, OSError):
        return []
    return [name for name in (each.removeprefix("@") for each in found) if name.startswith(incomplete)]


def migrations(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same, without daemons."""
    return [name for name in running(context, parameter, incomplete) if not name.isdigit()]
