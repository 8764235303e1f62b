"""Shell completion of the names of migrations and daemons that run here."""

from __future__ import annotations

import click


def running(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of this user's running migrations, and of its daemons (``@PID``), that begin with ``incomplete``."""
    from nbdtun.cli.remote import base
    from nbdtun.errors import NbdtunError
    from nbdtun.service.control.socket import names

    try:
        found = names(base(context.params.get("run_dir")))
    except (NbdtunError, OSError):
        return []
    return [each.text for each in found if each.text.startswith(incomplete)]


def migrations(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same, without daemons."""
    return [name for name in running(context, parameter, incomplete) if not name.startswith("@")]
