"""
SELinux's labels of sockets. Where it is on, a QEMU of libvirt's may connect to sockets with one label only.

Kernel and libvirt facts: a listening socket has the label that ``/proc/thread-self/attr/sockcreate`` had when it was made, else that of its
process; an empty write takes it back (security/selinux/hooks.c, libselinux's ``setsockcreatecon``). libvirt leaves it to the program that
makes a migration's sockets (its docs/migration.rst, "Migration using only UNIX sockets").
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

#: That of sockets to which a confined QEMU may connect, in the policies of Fedora and its relatives.
FOR_QEMU: Final = "system_u:object_r:svirt_socket_t:s0"

#: It is there where the kernel enforces SELinux, or could.
_POLICY: Final = "/sys/fs/selinux/enforce"
_NEXT: Final = "/proc/thread-self/attr/sockcreate"


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """
    Give the sockets that this thread makes meanwhile a ``label``; an empty one, or one that the policy does not have, changes nothing.

    :raise OSError: this process may not choose a label.
    """
    if not label or not os.path.exists(_POLICY):
        yield
        return
    try:
        _write(label)
    except OSError as failure:
        if failure.errno != errno.EINVAL:
            raise
    try:
        yield
    finally:
        with suppress(OSError):
            _write("")


def _write(label: str) -> None:
    descriptor = os.open(_NEXT, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, label.encode())
    finally:
        os.close(descriptor)
