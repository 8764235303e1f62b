"""
What the libvirt of this host says, as plain values, and the little that is asked of it about domains. All calls block.

The numbers of states and reasons are libvirt's (libvirt/libvirt-domain.h: virDomainState, virDomainRunningReason...), as are the words.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from attrs import frozen

from nbdtun.errors import LibvirtError
from nbdtun.libvirt.connection import (
    NO_DOMAIN,
    NO_NETWORK,
    NO_SUPPORT,
    OPERATION_INVALID,
    OPERATION_UNSUPPORTED,
    asking,
)

T = TypeVar("T")

_STATES: Final = ("none", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")
_RUNNING = (
    "unknown booted migrated restored from-snapshot unpaused migration-canceled save-canceled wakeup crashed postcopy postcopy-failed"
)
_PAUSED = (
    "unknown user migration save dump ioerror watchdog from-snapshot shutting-down snapshot crashed starting-up postcopy postcopy-failed "
    "api-error"
)
_SHUTOFF = "unknown shutdown destroyed crashed migrated saved failed from-snapshot daemon"
_REASONS: Final = {"running": _RUNNING.split(), "paused": _PAUSED.split(), "shutoff": _SHUTOFF.split(), "crashed": ["unknown", "panicked"]}

#: A domain's states as QEMU names those of its guest; of the others, there is none.
_RUN_STATES: Final = {
    "running": "running",
    "blocked": "running",
    "paused": "paused",
    "pmsuspended": "suspended",
    "shutdown": "shutdown",
    "crashed": "guest-panicked",
}
#: Reasons of a paused domain whose guest is not here yet.
_ARRIVING: Final = frozenset({"migration", "starting-up"})

#: virDomainXMLFlags: as it is defined, if it is.
_INACTIVE: Final = 2

#: virConnectCompareCPUFlags: to fail with a text that says what is missing.
_FAIL_INCOMPATIBLE: Final = 1
_IDENTICAL: Final = 1


@frozen
class Domain:
    """
    A domain that libvirt knows, with its words for the ``state`` and the ``reason``; ``active``: it has a QEMU.

    ``arrives``: its QEMU waits for a guest that is being migrated to it. That is sure: libvirt has its job for an incoming migration, which
    it ends before the guest runs.
    """

    name: str
    uuid: str
    state: str
    reason: str
    active: bool = False
    arrives: bool = False

    @property
    def run_state(self) -> str:
        """The state as QEMU names it; empty without a QEMU."""
        return "inmigrate" if self.arrives else _RUN_STATES.get(self.state, self.state) if self.active else ""


@frozen
class Capabilities:
    """
    The host: its ``uuid`` and ``name``, the user and group of its QEMUs (None: not known), and the kinds of domains (``kvm``, ``qemu``) for
    each architecture.
    """

    uuid: str
    name: str
    owner: tuple[int, int] | None
    kinds: dict[str, frozenset[str]]


@frozen
class Abilities:
    """What an emulator can do with one machine: its kinds of firmware, and of TPMs."""

    machine: str
    firmware: frozenset[str]
    tpms: frozenset[str]


class Host:
    """The libvirt behind a virConnect."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return "<Host>"

    def versions(self) -> tuple[int, int]:
        """The versions of libvirt and of its hypervisor, as libvirt counts them."""
        with asking():
            return self._connection.getLibVersion(), self._connection.getVersion()

    def capabilities(self) -> Capabilities:
        """What the host is."""
        with asking():
            text, name = self._connection.getCapabilities(), self._connection.getHostname()
        told = ET.fromstring(text)
        kinds: dict[str, frozenset[str]] = {}
        for arch in told.iterfind("guest/arch"):
            kinds[arch.get("name", "")] = frozenset(each.get("type", "") for each in arch.iterfind("domain"))
        return Capabilities(told.findtext("host/uuid", ""), name, _owner(told), kinds)

    def abilities(self, emulator: str | None, arch: str, machine: str | None, kind: str | None) -> Abilities:
        """
        What the emulator can do with the machine, for a kind of domains. None: libvirt chooses.

        :raise LibvirtError: it does not know the machine, or there is no such emulator.
        """
        with asking():
            told = ET.fromstring(self._connection.getDomainCapabilities(emulator, arch, machine, kind, 0))

        def values(path: str) -> frozenset[str]:
            return frozenset(each.text or "" for each in told.iterfind(path))

        return Abilities(
            told.findtext("machine", ""),
            values("os/enum[@name='firmware']/value"),
            values("devices/tpm/enum[@name='backendModel']/value"),
        )

    def lack_of_cpu(self, emulator: str | None, arch: str, machine: str | None, kind: str, cpu: str) -> str:
        """Why the host cannot give a guest the CPU of this XML, in libvirt's words; empty if it can, or if libvirt cannot say."""
        try:
            with asking():
                result = self._connection.compareHypervisorCPU(emulator, arch, machine, kind, cpu, _FAIL_INCOMPATIBLE)
        except LibvirtError as error:
            return "" if error.number == NO_SUPPORT else error.what
        return "" if result >= _IDENTICAL else "the CPU is incompatible with the host's"

    def domain(self, uuid: str) -> Domain | None:
        """The domain of this UUID; None if there is none."""
        found = self._find(lambda: self._connection.lookupByUUIDString(uuid), NO_DOMAIN)
        return None if found is None else self._describe(found)

    def namesake(self, name: str) -> Domain | None:
        """The domain of this name; None if there is none."""
        found = self._find(lambda: self._connection.lookupByName(name), NO_DOMAIN)
        return None if found is None else self._describe(found)

    def disks(self) -> dict[str, frozenset[str]]:
        """The real paths of all domains' disks, as they are and as they are defined, each with the UUIDs of the domains that have it."""
        with asking():
            every = self._connection.listAllDomains(0)
        texts = [self._find(partial(each.XMLDesc, flags), NO_DOMAIN) for each in every for flags in (0, _INACTIVE)]
        found: dict[str, frozenset[str]] = {}
        for told in map(ET.fromstring, filter(None, texts)):
            for source in told.iterfind("devices/disk/source"):
                if path := source.get("file") or source.get("dev") or self._path_of(source.get("pool", ""), source.get("volume", "")):
                    real = os.path.realpath(path)
                    found[real] = found.get(real, frozenset()) | {told.findtext("uuid", "")}
        return found

    def _path_of(self, pool: str, volume: str) -> str:
        """The path of a volume; empty if there is none, or its pool is not active."""
        with suppress(LibvirtError), asking():
            return str(self._connection.storagePoolLookupByName(pool).storageVolLookupByName(volume).path()) if volume else ""
        return ""

    def end(self, uuid: str) -> None:
        """End the QEMU of a domain at once; one that has ended, or is not there, is in order."""
        self._find(lambda: self._connection.lookupByUUIDString(uuid).destroy(), NO_DOMAIN, OPERATION_INVALID)

    def network(self, name: str) -> bool | None:
        """Whether the virtual network of this name is active; None if there is none."""
        return self._find(lambda: bool(self._connection.networkLookupByName(name).isActive()), NO_NETWORK)

    def has_secret(self, uuid: str, usage: tuple[int, str] | None = None) -> bool:
        """Whether there is a secret with this UUID, or else with this kind and id of usage, and whether it has a value."""
        with asking():
            every = self._connection.listAllSecrets(0)
            for each in every:
                if each.UUIDString() == uuid or (usage is not None and (each.usageType(), each.usageID()) == usage):
                    return True
        return False

    def _describe(self, found: Any) -> Domain:
        with asking():
            number, why = found.state()[:2]
            active = bool(found.isActive())
        state = _word(_STATES, number)
        reason = _word(_REASONS.get(state, []), why)
        arrives = state == "paused" and reason in _ARRIVING and self._is_job_incoming(found)
        return Domain(found.name(), found.UUIDString(), state, reason, active, arrives)

    def _is_job_incoming(self, found: Any) -> bool:
        """Whether a migration to it is under way: only then libvirt refuses to tell the job's statistics (qemuDomainGetJobStats)."""
        try:
            with asking():
                found.jobStats()
        except LibvirtError as error:
            return error.number == OPERATION_UNSUPPORTED
        return False

    def _find(self, look: Callable[[], T], *missing: int) -> T | None:
        try:
            with asking():
                return look()
        except LibvirtError as error:
            if error.number in missing:
                return None
            raise


def _owner(capabilities: ET.Element) -> tuple[int, int] | None:
    """The user and group that libvirt's QEMUs have: the label of the model ``dac``, as ``+64055:+106``."""
    for model in capabilities.iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            user, _, group = model.findtext("baselabel", "").replace("+", "").partition(":")
            if user.isdigit() and group.isdigit():
                return int(user), int(group)
    return None


def _word(words: tuple[str, ...] | list[str], number: int) -> str:
    return words[number] if 0 <= number < len(words) else f"{number}"
