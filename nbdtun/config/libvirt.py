"""The settings of a migration that libvirt does: which libvirt has the VM, and what differs at the destination."""

from __future__ import annotations

import os
from typing import Final

from attrs import field, frozen

from nbdtun.config.names import check_name
from nbdtun.config.settings import Dialling
from nbdtun.errors import ConfigError
from nbdtun.migration.settings import Belonging, MigrationSettings
from nbdtun.ownership.given import read_text
from nbdtun.spawn.rewrite.answers import Answers

#: libvirt's own, where no URI says otherwise.
SYSTEM: Final = "qemu:///system"
#: An ordinary user's.
SESSION: Final = "qemu:///session"


def check_uri(text: str) -> str:
    """
    Return the URI of a libvirt whose QEMU runs on this host.

    :raise ConfigError: it is none.
    """
    scheme, slashes, rest = text.partition("://")
    driver, _, transport = scheme.partition("+")
    host, _, path = rest.partition("/")
    if not slashes or driver != "qemu" or transport not in ("", "unix") or host or path.partition("?")[0] not in ("system", "session"):
        raise ConfigError(
            f"{text!r} is not the URI of a libvirt of this host", f"use {SYSTEM}, or name its socket: qemu+unix:///system?socket=PATH"
        )
    return text


def check_directory(path: str) -> str:
    """
    Return the path of a directory, without ``..`` and the like.

    :raise ConfigError: it is not an absolute path.
    """
    if not path.startswith("/"):
        raise ConfigError(f"{path!r} is not an absolute path")
    return os.path.normpath(path)


def read_xml(path: str) -> str:
    """
    Read a file with a domain's XML.

    :raise ConfigError: it cannot be read.
    """
    return read_text(path)


@frozen(kw_only=True)
class DomainSettings(Dialling):
    """
    One migration of a VM of libvirt's.

    ``uri`` is that of the libvirt of this host. ``answers`` say what differs at the destination, by ``maps`` and ``overwrite`` alone;
    or ``dest_xml`` is the whole XML there.
    """

    uri: str = field(default=SYSTEM, converter=check_uri)
    migration: MigrationSettings
    answers: Answers = field(factory=Answers)
    dest_xml: str = ""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_name(self.migration.vm)
        if self.dest_xml and self.answers.maps:
            raise ConfigError("--dest-xml has the whole XML of the VM there; leave --map out")
        if self.answers.disks or self.answers.settings or self.answers.keep_backing or self.answers.unit:
            raise ConfigError("--disk NODE=PATH, --set, --keep-backing and --unit are for VMs without libvirt; use --map or --dest-xml")
        if self.migration.switchover:
            raise ConfigError("--hold and --switchover are for VMs without libvirt: libvirt switches over by itself when all is copied")
        if self.migration.allowed or Belonging.SNAPSHOTS in self.migration.leave_behind:
            raise ConfigError("--allow-mismatch and --leave-behind are for VMs without libvirt")
