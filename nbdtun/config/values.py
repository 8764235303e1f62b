"""
The values of single options: ``NAME=SOMETHING``, and ``USER:GROUP``.

Patterns for names are those of a shell.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Sequence
from typing import Final

from attrs import field, frozen
from twisted.internet.interfaces import IProtocolFactory

from nbdtun.config.endpoints import Address, Role, check_socket_path, parse
from nbdtun.config.names import check_name
from nbdtun.errors import ConfigError
from nbdtun.tls.store import Layout
from nbdtun.tunnel.settings import Records

#: In the path of a pattern: a VM's name.
PLACE: Final = "{vm}"
_PATTERN = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,64}")
UNCHANGED = -1
_LARGEST_ID = 2**32 - 2

LOG_FORMATS: Final = ("text", "json")
#: Twisted's own.
LOG_LEVELS: Final = ("debug", "info", "warn", "error", "critical")


def _halves(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError(f"{text!r} does not have the form {form}")
    return name, value


@frozen
class Forward:
    """An endpoint that the source listens on, and the target that its connections reach."""

    target: str = field(converter=check_name)
    endpoint: str

    def __attrs_post_init__(self) -> None:
        parse(self.endpoint, Role.LISTEN)

    @classmethod
    def parse(cls, text: str) -> Forward:
        """
        Read ``TARGET=SERVER-ENDPOINT``.

        :raise ConfigError: it does not have that form.
        """
        return cls(*_halves(text, "TARGET=SERVER-ENDPOINT, such as nbd=unix:/run/nbdtun/nbd.sock"))

    @property
    def address(self) -> Address:
        """The parts of the endpoint."""
        return parse(self.endpoint, Role.LISTEN)


@frozen
class Target:
    """A name that the source may ask for, and the endpoint that the destination connects to."""

    name: str = field(converter=check_name)
    endpoint: str

    def __attrs_post_init__(self) -> None:
        parse(self.endpoint, Role.CONNECT)

    @classmethod
    def parse(cls, text: str) -> Target:
        """
        Read ``NAME=CLIENT-ENDPOINT``.

        :raise ConfigError: it does not have that form.
        """
        return cls(*_halves(text, "NAME=CLIENT-ENDPOINT, such as nbd=unix:/run/qemu/nbd.sock"))

    @property
    def address(self) -> Address:
        """The parts of the endpoint."""
        return parse(self.endpoint, Role.CONNECT)


@frozen
class FactoryTarget:
    """A name that the source may ask for, and the protocol factory that serves it: an application's own service."""

    name: str = field(converter=check_name)
    factory: IProtocolFactory


@frozen
class VM:
    """A VM that waits for a migration at the destination, and the path of its QMP socket."""

    name: str = field(converter=check_name)
    qmp: str = field(converter=check_socket_path)

    @classmethod
    def parse(cls, text: str) -> VM:
        """
        Read ``NAME=PATH``.

        :raise ConfigError: it does not have that form.
        """
        return cls(*_halves(text, "NAME=PATH, such as web1=/run/qemu/web1-incoming.qmp"))


@frozen
class VMPattern:
    """
    VMs that wait for a migration at the destination: each with a name that matches ``names``, and with a QMP socket of the form ``qmp``.

    In ``qmp``, an absolute path, ``{vm}`` stands for the name.
    """

    names: str = field()
    qmp: str = field()

    @names.validator
    def _check_names(self, _: object, names: str) -> None:
        if not _PATTERN.fullmatch(names):
            raise ConfigError(f"{names!r} is not a pattern for names", "use the characters of names, and *, ? and [...]")

    @qmp.validator
    def _check_qmp(self, _: object, qmp: str) -> None:
        if PLACE not in qmp:
            raise ConfigError(f"{self.names}={qmp}: the path has no {PLACE}, which stands for the VM's name")
        check_socket_path(qmp.replace(PLACE, "x"))  # the shortest that could be found
        if not os.path.isabs(qmp):
            raise ConfigError(f"{self.names}={qmp}: a path with {PLACE} must be absolute")


def parse_vm(text: str) -> VM | VMPattern:
    """
    ``web1=/run/qemu/web1-incoming.qmp`` for one VM, ``*=/run/qemu/{vm}-incoming.qmp`` for all that will be there.

    :raise ConfigError: it does not have that form.
    """
    name, qmp = _halves(text, "NAME=PATH, such as web1=/run/qemu/web1-incoming.qmp")
    return VMPattern(name, qmp) if PLACE in qmp or any(character in name for character in "*?[") else VM(name, qmp)


@frozen
class Owner:
    """The owner of a socket, as ``os.chown`` takes it: -1 leaves the group as it is."""

    uid: int
    gid: int = UNCHANGED

    @classmethod
    def parse(cls, text: str) -> Owner:
        """
        Read ``USER[:GROUP]``, by names or numbers; without a group, the user's own.

        :raise ConfigError: there is no such user or group.
        """
        user, colon, group = text.partition(":")
        if not user or (colon and not group):
            raise ConfigError(f"{text!r} does not have the form USER[:GROUP]")
        uid, own_gid = _user(user)
        return cls(uid, _group(group) if colon else own_gid)


def _user(text: str) -> tuple[int, int]:
    """The ids of a user and of its group; the group is -1 for a number that no user has."""
    number = _id(text)
    try:
        entry = pwd.getpwnam(text) if number is None else pwd.getpwuid(number)
    except KeyError:
        if number is None:
            raise ConfigError(f"there is no user {text!r}") from None
        return number, UNCHANGED
    return entry.pw_uid, entry.pw_gid


def _group(text: str) -> int:
    number = _id(text)
    if number is not None:
        return number
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {text!r}") from None


def _id(text: str) -> int | None:
    """``text`` as a number; None if it is a name."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > _LARGEST_ID:
        raise ConfigError(f"{text} is not a user or group id")
    return int(text)


def parse_records(text: str) -> Records:
    """
    Who makes the TLS records, by name.

    :raise ConfigError: there is no such choice.
    """
    return Records(_chosen(text, [each.value for each in Records]))


def parse_layout(text: str) -> Layout:
    """
    Whose layout of TLS files, by name.

    :raise ConfigError: there is no such choice.
    """
    return Layout(_chosen(text, [each.value for each in Layout]))


def parse_log_format(text: str) -> str:
    """
    One of :data:`LOG_FORMATS`.

    :raise ConfigError: it is none.
    """
    return _chosen(text, LOG_FORMATS)


def parse_log_level(text: str) -> str:
    """
    One of :data:`LOG_LEVELS`.

    :raise ConfigError: it is none.
    """
    return _chosen(text, LOG_LEVELS)


def _chosen(text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise ConfigError(f"{text!r} is not a choice: use one of {', '.join(known)}")
    return text


def parse_ports(text: str) -> tuple[int, int]:
    """
    ``49152-49215``, or a single port: the first and the last.

    :raise ConfigError: it is neither, or there are no such ports.
    """
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text.strip(), re.ASCII)
    if found is None:
        raise ConfigError(f"{text!r} does not have the form FIRST-LAST, such as 49152-49215")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 0 < first <= last < 65536:
        raise ConfigError(f"{text!r} is not a range of ports from 1 to 65535")
    return first, last
