"""``nbdtun certs``: makes a CA, and a certificate for each end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nbdtun.tls.issue import Issued


@click.command("certs", short_help="Make certificates for both ends.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--host", "hosts", metavar="NAME-or-IP", multiple=True, required=True, help="Name or address of the destination. Repeatable.")
@click.option("--force", is_flag=True, help="Replace the certificates of both ends. The CA is kept.")
def command(directory: str, hosts: tuple[str, ...], force: bool) -> None:
    """Make a CA and the certificates of both ends in DIR.

    The files have the names that QEMU and libvirt use. If DIR already has a CA, it signs the new certificates.
    """
    from nbdtun.tls.issue import make

    click.echo(_account(make(directory, hosts, force=force)))


def _account(issued: Issued) -> str:
    return (
        f"{'A new CA' if issued.new_authority else 'The existing CA'} has signed for both ends, valid until {issued.expires:%Y-%m-%d}. "
        f"In {issued.directory}:\n"
        "  for the destination  ca-cert.pem  server-cert.pem  server-key.pem\n"
        "  for the source       ca-cert.pem  client-cert.pem  client-key.pem\n"
        "  for neither          ca-key.pem   signs more certificates; keep it off both hosts"
    )
