"""``nbdtun vms``: the VMs of this host, and whether destinations have them."""

from __future__ import annotations

import json
from typing import Any

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import DESTINATION, SpelledOut, checked
from nbdtun.config.evacuation.words import SHARED
from nbdtun.config.options import LIBVIRT


@click.command("vms", cls=SpelledOut, short_help="List the VMs of this host.")
@click.argument("vms", metavar="[VM]...", nargs=-1)
@checked(LIBVIRT)
@click.option("--qmp", metavar="PATTERN", help="The QMP sockets of the VMs here, such as '/run/qemu/{vm}.qmp'.")
@click.option("--to", type=DESTINATION, multiple=True, metavar="ENDPOINT", help="Also ask this destination for each of them. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def command(vms: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """List the VMs of this host, of libvirt or with QMP sockets of one form: what each does, and how large it is. Nothing is changed.

    With names, list those, whether they are here or not. With --to, say of each whether its guest is there.

    \b
    Exit status: 0  all could be asked for
                 1  a VM or a destination could not be asked
                 2  wrong usage
    """
    from nbdtun.cli.remote import asked
    from nbdtun.config.evacuation.terms import make_view
    from nbdtun.display.vms import line
    from nbdtun.service.evacuation.listing import listing

    terms = make_view(options, named=bool(vms))
    log_to_stderr(bars=True)
    found = [row.as_json() for row in asked(lambda reactor: listing(reactor, terms, vms))]
    for row in found:
        click.echo(json.dumps(row, allow_nan=False) if as_json else line(row))
    return int(any(each["error"] for row in found for each in (row, *row["at"].values())))


for _option in SHARED:
    command = checked(_option)(command)
