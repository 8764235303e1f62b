"""The VMs of this host: which there are, what they do, and how much of them there is to copy."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore

from nbdtun.config import VMPattern
from nbdtun.config.values import PLACE
from nbdtun.deferreds import gather
from nbdtun.errors import ConfigError, NbdtunError, printable
from nbdtun.evacuation.terms import Terms
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.host import Host
from nbdtun.libvirt.near.survey import survey as survey_domain
from nbdtun.logs import make_logger
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import inventory
from nbdtun.migration.vm.machine import machine, run_state
from nbdtun.process import Reactor
from nbdtun.service.local.monitors import Hold
from nbdtun.service.local.vms import VMs, unusable
from nbdtun.spawn.rewrite.answers import Answers

#: The VMs that are asked at a time.
AT_ONCE: Final = 4

#: virConnectListAllDomainsFlags: those with a QEMU.
_ACTIVE: Final = 1

#: Run states of a QEMU without a guest of its own: it waits for one, or its guest is elsewhere.
_NO_GUEST: Final = frozenset({"inmigrate", "postmigrate", "finish-migrate", "shutdown"})


_log = make_logger()


@frozen
class Seen:
    """
    A VM of this host. ``state`` is its run state, as QEMU or libvirt names it, empty where it has none. ``memory`` and ``disks`` are the
    bytes to copy. ``wrong`` is why it cannot be asked, None if it can.
    """

    vm: str
    place: str
    memory: int = 0
    disks: int = 0
    state: str = ""
    wrong: NbdtunError | None = None

    @property
    def has_guest(self) -> bool:
        """Whether its guest is here; also where it cannot be asked."""
        return self.wrong is not None or self.state not in _NO_GUEST


async def survey(reactor: Reactor, terms: Terms) -> list[Seen]:
    """
    Look at all QEMUs here that the terms are for, with or without a guest; nothing is changed.

    :raise NbdtunError: libvirt cannot be asked, the monitors' directory cannot be read, or an ``only`` fits none.
    """
    found = await (_libvirt(reactor, terms) if terms.libvirt else _monitors(reactor, terms))
    if not found:  # a misspelt form finds nothing, too
        _log.warn("{what}", what=_none(terms))
    return sorted(found, key=lambda seen: seen.vm)


def chosen(terms: Terms, names: Iterable[str]) -> list[str]:
    """The names that the terms are for."""

    def fits(name: str, patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return [name for name in names if (not terms.only or fits(name, terms.only)) and not fits(name, terms.without)]


def _check_only(terms: Terms, names: Collection[str]) -> None:
    """A misspelt pattern would move nothing, in silence. Of the VMs of a report, others may be at another host."""
    vain = [pattern for pattern in terms.only if not any(fnmatchcase(name, pattern) for name in names)]
    if vain and not terms.restores:
        raise ConfigError(f"--only {', '.join(vain)}: no VM here has such a name", "`nbdtun vms` lists those that are here")


async def _monitors(reactor: Reactor, terms: Terms) -> list[Seen]:
    _check_directory(terms.qmp)
    pattern = VMPattern("*", terms.qmp)
    every, odd = dict(VMs([pattern]).items()), unusable(pattern)
    _check_only(terms, [*every, *odd])
    turns = DeferredSemaphore(AT_ONCE)

    def ask(vm: str) -> Deferred[Seen]:
        return turns.run(lambda: Deferred.fromCoroutine(look(reactor, vm, every[vm])))

    asked = await gather([ask(vm) for vm in chosen(terms, every)])
    return [*asked, *(_odd(name, odd[name]) for name in chosen(terms, odd))]


def _odd(name: str, path: str) -> Seen:
    """A VM that cannot be migrated under its name: it is told, as its host may be switched off next."""
    what = f"the monitor {printable(path)} cannot be used: its path is too long, or {printable(name)!r} is not a valid name"
    return Seen(printable(name), path, wrong=ConfigError(what, "use letters, digits, dots, dashes and underscores, at most 64"))


def _check_directory(form: str) -> None:
    """A directory that cannot be read may have any number of VMs; one that is not there may be missing since the host's start."""
    directory = _directory(form)
    try:
        os.listdir(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(f"--qmp {form}: {directory} cannot be read: {error.strerror}") from None


def _directory(form: str) -> str:
    return form.partition(PLACE)[0].rpartition("/")[0] or "/"


def _none(terms: Terms) -> str:
    """Where no VM was found."""
    chosen = ", among those that --only and --without choose" if terms.only or terms.without else ""
    if terms.libvirt:
        return f"no VM runs in libvirt at {terms.libvirt}{chosen}"
    if not os.path.isdir(_directory(terms.qmp)):
        return f"there is no directory {_directory(terms.qmp)}, and so no VM"
    return f"no QMP socket has the form {terms.qmp}{chosen}"


async def look(reactor: Reactor, vm: str, place: str) -> Seen:
    """Look at the VM behind one monitor; nothing is changed."""
    monitor = Monitor(reactor, place, vm)
    try:
        await Hold(reactor, place).look(monitor)
        state = await run_state(monitor)
        memory = (await machine(monitor)).memory
        disks = sum(disk.allocated for disk in (await inventory(monitor)).disks)
    except NbdtunError as error:
        return Seen(vm, place, wrong=error)
    finally:
        await monitor.close()
    return Seen(vm, place, memory, disks, state)


async def _libvirt(reactor: Reactor, terms: Terms) -> list[Seen]:
    libvirt = await Libvirt(reactor, terms.libvirt).open()
    try:
        names = await libvirt.do(lambda connection: [domain.name() for domain in connection.listAllDomains(_ACTIVE)])
        _check_only(terms, names)
        return [await _domain(libvirt, vm) for vm in chosen(terms, names)]
    finally:
        libvirt.close()


async def _domain(libvirt: Libvirt, vm: str) -> Seen:
    def asked(connection: Any) -> Seen:
        state = Host(connection).namesake(vm)
        found = survey_domain(connection, vm, Answers())
        size = sum(image.allocation for image in found.images)
        return Seen(vm, found.domain.uuid, found.memory, size, state.run_state if state else "")

    try:
        return await libvirt.do(asked)
    except NbdtunError as error:
        return Seen(vm, "", wrong=error)
