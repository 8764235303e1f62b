"""
Where the TLS files of one end are, in one of two layouts, and the passphrase of its key.

QEMU's layout (qemu-tls-creds-x509) has all files in one directory, under these names. libvirt's has them below ``/etc/pki``,
in several directories; or flat in one, as for a user's ``~/.pki/libvirt`` and the ``pkipath`` of its URIs (src/rpc/virnettlscontext.c).
"""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Final

from attrs import frozen

from nbdtun.ownership.given import is_there

CA_CERT, CA_KEY, CA_CRL = "ca-cert.pem", "ca-key.pem", "ca-crl.pem"
SERVER_CERT, SERVER_KEY = "server-cert.pem", "server-key.pem"
CLIENT_CERT, CLIENT_KEY = "client-cert.pem", "client-key.pem"


class Layout(enum.Enum):
    """Whose directories these are."""

    QEMU = "qemu"
    LIBVIRT = "libvirt"


#: libvirt's directory, in which the others are.
LIBVIRT_PKI: Final = "/etc/pki"

_LIBVIRT: Final = {
    CA_CERT: "CA/cacert.pem",
    CA_CRL: "CA/cacrl.pem",
    SERVER_CERT: "libvirt/servercert.pem",
    SERVER_KEY: "libvirt/private/serverkey.pem",
    CLIENT_CERT: "libvirt/clientcert.pem",
    CLIENT_KEY: "libvirt/private/clientkey.pem",
}


@frozen
class Store:
    """The files below ``directory``; ``password`` is the file with the passphrase of the key, if it has one."""

    directory: Path
    layout: Layout = Layout.QEMU
    password: Path | None = None

    @classmethod
    def of(cls, where: str | os.PathLike[str] | Store) -> Store:
        """A store as it is, or a directory in QEMU's layout."""
        return where if isinstance(where, Store) else cls(Path(where))

    def __truediv__(self, name: str) -> Path:
        """The path of a file, by its name in QEMU's layout."""
        if self.layout is Layout.QEMU:
            return self.directory / name
        usual = Path(_LIBVIRT[name])
        flat = is_there(self.directory / Path(_LIBVIRT[CA_CERT]).name)
        return self.directory / (usual.name if flat else usual)
