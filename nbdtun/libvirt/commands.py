"""
The commands between the two ends of a migration of libvirt's: AMP over a control channel. The near end asks, the far end answers::

    LibvirtLook      what is in the way at the far end; nothing is changed            at any time, without a session
    LibvirtPrepare   make the images, the directory and the targets of a session      undone by LibvirtFinish
    LibvirtFinish    libvirt's own migration has ended: keep what was made, or remove it
    LibvirtOutcome   what became of a domain there                                    at any time, over any control channel

libvirt's own migration runs between LibvirtPrepare and LibvirtFinish, through the three targets.

Each value is one JSON object, compressed, with exactly the fields of its class in :mod:`.values`, all of them. A :class:`.values.Wanted`::

    {"name": "web1", "uuid": "11111111-...", "xml": "<domain ...", "persistent": "<domain ...", "nvram": 0, "host": "22222222-...",
     "hostname": "here", "overwrite": false, "autostart": false,
     "images": [{"target": "vda", "path": "/var/lib/libvirt/images/web1.qcow2", "format": "qcow2", "capacity": 1073741824,
                 "allocation": 200704, "compat": "1.1", "extended_l2": false, "cluster": 65536, "device": false,
                 "pool": "", "volume": "", "owner": "libvirt-qemu", "group": "kvm", "mode": 384,
                 "twin": {"nonce": "", "name": "", "inode": 0, "identity": ""}}]}

A :class:`.values.Found`::

    {"findings": [{"level": "failure", "check": "place", "what": "...", "remedy": "...", "code": "not-migratable", "name": ""}],
     "libvirt": 9000000, "hypervisor": 7002022,
     "spaces": [{"system": "65025", "place": "/var/lib/libvirt/images", "needed": 200704, "free": 1073741824}]}

A :class:`.values.Prepared`::

    {"directory": "/run/nbdtun/libvirt/0123...", "libvirt": "libvirt.0123...", "memory": "memory.0123...", "disks": "disks.0123...",
     "mode": "system"}

A :class:`.values.Fate`::

    {"state": "running", "reason": "migrated", "waits": false, "has_run": true, "doubtful": false, "begun": false, "kept": ["/var/lib/..."]}

The far end trusts no peer. It acts only on the paths of the images, in its own libvirt's pools, and on the domain of that
UUID; the session's id has one form.
"""

from __future__ import annotations

from typing import ClassVar

from nbdtun.amp import CheckedCommand, Flag, Text, Value
from nbdtun.libvirt.values import Fate, Found, Prepared, Wanted
from nbdtun.migration.control.commands import ERRORS, SECRET, SessionId
from nbdtun.versions import AGREED, OFFER, Speaks

#: The versions that this release understands. LibvirtOutcome is the same in all versions.
LIBVIRT = Speaks("the protocol for libvirt's migrations")


class LibvirtLook(CheckedCommand):
    """What is in the way of ``wanted``: all findings at once."""

    arguments: ClassVar = [*OFFER, (b"wanted", Value(Wanted))]
    response: ClassVar = [*AGREED, (b"found", Value(Found))]
    errors = ERRORS


class LibvirtPrepare(CheckedCommand):
    """
    Make ready for ``wanted``; it is looked at again first.

    An error means that nothing is left of it.
    """

    arguments: ClassVar = [(b"session", SessionId()), SECRET, *OFFER, (b"wanted", Value(Wanted))]
    response: ClassVar = [*AGREED, (b"prepared", Value(Prepared))]
    errors = ERRORS


class LibvirtFinish(CheckedCommand):
    """
    The session is over: keep what was made if ``arrived``, or if the guest has run there all the same; else remove it.

    The answer has what became of the domain, once all is done. A domain that still waits for its guest has been ended by then.
    """

    arguments: ClassVar = [(b"session", SessionId()), SECRET, (b"arrived", Flag())]
    response: ClassVar = [(b"fate", Value(Fate))]
    errors = ERRORS


class LibvirtOutcome(CheckedCommand):
    """
    What became of the domain with this ``uuid``.

    ``end``: first end one that waits for its guest, and remove what was made for it, so that it will never run by a migration of before.
    Without it nothing is changed.
    """

    arguments: ClassVar = [(b"session", SessionId(optional=True)), SECRET, (b"uuid", Text(36)), (b"end", Flag())]
    response: ClassVar = [(b"fate", Value(Fate))]
    errors = ERRORS
