"""``nbdtun certs``: makes a CA and certificates for each end, signs requests, and lists what expires when."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nbdtun.errors import ConfigError, printable

if TYPE_CHECKING:
    from nbdtun.tls.issue import Issued
    from nbdtun.tls.pki.request import Signed


@click.command("certs", short_help="Make certificates, sign requests, list what expires.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--host", "hosts", metavar="NAME-or-IP", multiple=True, help="Name or address of the destination. Repeatable.")
@click.option("--force", is_flag=True, help="Replace the certificates of both ends. The CA is kept.")
@click.option("--ca", metavar="DIR", type=click.Path(file_okay=False), help="Sign with the CA of another directory; its key stays there.")
@click.option("--request", is_flag=True, help="Make keys in DIR, which stay there, and requests for a CA elsewhere.")
@click.option("--csr", metavar="FILE", type=click.Path(dir_okay=False), help="Let the CA in DIR sign this request.")
@click.option(
    "--for", "end", type=click.Choice(["dest", "source"]), help="With --csr: the end that the certificate is for, if it does not say."
)
@click.option("--list", "listing", is_flag=True, help="List the certificates in DIR and below it, by the time at which they expire.")
@click.option("--ca-password-file", metavar="FILE", help="A file with the passphrase of the CA's key.")
def command(
    directory: str,
    hosts: tuple[str, ...],
    force: bool,
    ca: str | None,
    request: bool,
    csr: str | None,
    end: str | None,
    listing: bool,
    ca_password_file: str | None,
) -> None:
    """Make a CA and the certificates of both ends in DIR, or add a host to a CA.

    The files have the names that QEMU and libvirt use. If DIR already has a CA, it signs the new certificates. With --ca, DIR gets the
    certificates and keys of one more host, both with its names, signed by a CA that stays where it is.

    So that keys never travel: --request in a directory of the host, then --csr in the directory of the CA.
    """
    if sum((request, csr is not None, listing, ca is not None)) > 1:
        raise ConfigError("--ca, --request, --csr and --list are four different things: give one of them")
    if end is not None and csr is None:
        raise ConfigError("--for is for --csr")
    if not hosts and csr is None and not listing:
        raise ConfigError("Missing option '--host': Name or address of the destination")
    password = None if ca_password_file is None else _passphrase(ca_password_file)
    if listing:
        click.echo("\n".join(_list(Path(directory))))
    elif request:
        click.echo(_requested(directory, hosts, force))
    elif csr is not None:
        from nbdtun.tls.pki.request import sign_request

        click.echo(_signed(sign_request(directory, csr, hosts=hosts, end=end, force=force, password=password)))
    else:
        from nbdtun.tls.issue import make

        click.echo(_account(make(directory, hosts, force=force, ca=ca, password=password), ca))


def _passphrase(path: str) -> bytes:
    from nbdtun.tls.files import read_passphrase

    return read_passphrase(Path(path))


def _account(issued: Issued, ca: str | None) -> str:
    key = (
        "  for neither          ca-key.pem   signs more certificates; keep it off both hosts"
        if ca is None
        else f"The CA's key stays in {ca}, with a copy of each certificate."
    )
    return (
        f"{'A new CA' if issued.new_authority else 'The existing CA'} has signed for both ends, valid until {issued.expires:%Y-%m-%d}. "
        f"In {issued.directory}:\n"
        "  for the destination  ca-cert.pem  server-cert.pem  server-key.pem\n"
        "  for the source       ca-cert.pem  client-cert.pem  client-key.pem\n"
        f"{key}"
    )


def _requested(directory: str, hosts: tuple[str, ...], force: bool) -> str:
    from nbdtun.tls.pki.request import make_requests

    files = make_requests(directory, hosts, force=force)
    commands = "\n".join(f"  nbdtun certs CA-DIR --csr {file.name}" for file in files)
    return (
        f"The keys are in {directory}, and stay there. Take {' and '.join(file.name for file in files)} to the CA:\n"
        f"{commands}\n"
        f"Then bring server-cert.pem, client-cert.pem and ca-cert.pem to {directory}."
    )


def _signed(signed: Signed) -> str:
    names = ", ".join(signed.names) or "no names"
    ends = " and ".join({"dest": "the destination", "source": "the source"}[end] for end in signed.ends)
    return printable(f"{signed.path}: signed for {ends}, {signed.subject}, with {names}, valid until {signed.expires:%Y-%m-%d}")


def _list(directory: Path) -> list[str]:
    from nbdtun.tls.pki.inventory import inventory

    rows = [(_when(each.end), f"{each.path.relative_to(directory)}", printable(each.what)) for each in inventory(directory)]
    if not rows:
        raise ConfigError(f"{directory}: there is no certificate in it")
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{when:{widths[0]}}  {path:{widths[1]}}  {what}" for when, path, what in rows]


def _when(end: float | None) -> str:
    from nbdtun.tls.certificate import date
    from nbdtun.units import duration_text

    if end is None:
        return "never"
    left = end - time.time()
    return f"{date(end)}, {f'in {duration_text(left)}' if left > 0 else 'expired'}"
