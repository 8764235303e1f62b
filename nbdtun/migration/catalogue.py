"""
The catalogue of findings: each that a check can make, declared once. The checks make theirs from it, and ``docs/findings`` prints it.

A finding that is not here cannot be made: :class:`~nbdtun.migration.check.checklist.Checklist` and the comparisons take its declaration.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, field, frozen

from nbdtun.errors import (
    CommandFailed,
    ConfigError,
    DestinationFailed,
    DiskMismatch,
    MonitorError,
    NbdtunError,
    NotAllowed,
    NotInstalled,
    NotMigratable,
    ReachError,
    TLSError,
    TunnelError,
    VersionMismatch,
    VMUnknown,
    WrongCode,
)
from nbdtun.migration.finding import Check, Finding, Level

_kinds: list[Kind] = []


@frozen(eq=False)
class Kind:
    """
    One kind of finding: what was ``found``, in general, and the ``remedy``.

    ``errors`` are those that it reports; the first one's code is the code of a failure that is no error's. ``override`` is the option that
    makes a warning of a failure, empty for none.
    """

    check: Check
    level: Level
    found: str
    remedy: str = ""
    errors: tuple[type[NbdtunError], ...] = field(default=())
    override: str = ""

    def __attrs_post_init__(self) -> None:
        _kinds.append(self)

    @property
    def code(self) -> str:
        """The code of the error that a migration ends with; empty for a warning."""
        return self.errors[0].code if self.errors and self.level is Level.FAILURE else ""

    def __call__(self, what: str, remedy: str | None = None, *, name: str = "") -> Finding:
        """Make one; without a ``remedy`` of its own it has the declared one. ``name`` is what ``--allow-mismatch`` takes."""
        return Finding(self.level, self.check, what, self.remedy if remedy is None else remedy, self.code, name)

    def of(self, error: NbdtunError) -> Finding:
        """Make one that reports ``error``; a wrong option of the other end's is no wrong usage here, and has the declared code."""
        code = self.code if isinstance(error, ConfigError) and ConfigError not in self.errors else error.code
        return evolve(Finding.of(self.check, error, self.level), code=code)


def kinds() -> tuple[Kind, ...]:
    """All that are declared, by their checks."""
    order = list(Check)
    return tuple(sorted(_kinds, key=lambda kind: order.index(kind.check)))


def _failure(check: Check, found: str, remedy: str = "", *errors: type[NbdtunError], allow: bool = False, override: str = "") -> Kind:
    return Kind(check, Level.FAILURE, found, remedy, errors or (NotMigratable,), "--allow-mismatch" if allow else override)


def _warning(check: Check, found: str, remedy: str = "", *errors: type[NbdtunError]) -> Kind:
    return Kind(check, Level.WARNING, found, remedy, errors)


_RENEW = "renew it, as `nbdtun certs DIR --host NAME --force` does"


def _certificates(check: Check, *errors: type[NbdtunError]) -> tuple[Kind, Kind, Kind]:
    what = (
        "A certificate, the key or the CA's certificate is missing, unreadable, expired, or does not belong to the others; "
        "or the revocation list is damaged."
    )
    old = "The revocation list is out of date, or will be within a day or a third of its life: what was revoked since is not in it."
    return (
        _failure(check, what, _RENEW, *errors, TLSError),
        _warning(check, "A certificate expires within 30 days.", _RENEW),
        _warning(check, old, "put the CA's next list there"),
    )


def _sockets(check: Check, *errors: type[NbdtunError]) -> tuple[Kind, Kind]:
    what = "QEMU or its user cannot reach the sockets that nbdtun makes, or the run directory cannot be used."
    remedy, policy = (
        "choose another with --run-dir; run nbdtun as root or as QEMU's user",
        "let its policy allow sockets below the run directory",
    )
    return _failure(check, what, remedy, *errors, NotMigratable), _warning(check, "AppArmor or SELinux confines QEMU.", policy)


SSH: Final = _failure(
    Check.SSH,
    "ssh cannot reach the other host, or nbdtun cannot be run there or cannot listen.",
    "`ssh HOST nbdtun --version` must work; --remote-command says where nbdtun is",
    ReachError,
    NotInstalled,
    TunnelError,
)
SSH_ASKS: Final = _warning(
    Check.SSH,
    "Links through ssh cannot be made, which are needed where the port cannot be reached.",
    "use a key or an agent that asks nobody",
    ReachError,
    TunnelError,
)
CODE: Final = _failure(
    Check.CODE,
    "The code is wrong, nobody offers one there, or the destination cannot receive.",
    "type the code that `nbdtun receive` prints there",
    WrongCode,
    ReachError,
    TLSError,
    TunnelError,
)
CERTIFICATES: Final = _certificates(Check.TLS, ConfigError)
SOCKETS: Final = _sockets(Check.SOCKETS, ConfigError)
DESTINATION_CERTIFICATES: Final = _certificates(Check.DESTINATION_TLS, DestinationFailed)
DESTINATION_SOCKETS: Final = _sockets(Check.DESTINATION_SOCKETS, DestinationFailed)
SOURCE: Final = _failure(
    Check.SOURCE,
    "The source's QEMU cannot be asked, lacks a command, or is being migrated.",
    "give QEMU a -qmp of its own for nbdtun; wait for the other migration",
    MonitorError,
    CommandFailed,
    NotMigratable,
    ConfigError,
)
UNPLANNED: Final = _failure(
    Check.PLAN,
    "An option of the source's command line cannot be had at another host, or is not known to nbdtun.",
    "start the destination by hand; or change the option there with --set, --disk or --map",
)
ALTERED: Final = _warning(Check.PLAN, "An option is left out at the destination, or means something else there.")
LACKING: Final = _failure(
    Check.PLACE,
    "The destination's host lacks a file, a socket's server, a network interface, a right, the machine's type or a feature of the CPU.",
    "make it there, or name another one with --set or --map",
)
OCCUPIED: Final = _failure(
    Check.PLACE,
    "A path is taken at the destination: by data, by another QEMU, by a server, or by the source's own image.",
    "name another one with --disk or --map; --overwrite gives up data",
    override="--overwrite",
)
SPACE: Final = _failure(
    Check.PLACE, "The disks do not fit into the space that is free.", "make room there, or name another place with --disk"
)
UNLIKE: Final = _warning(Check.PLACE, "Something is unlike the source: another user, an owner that is unknown there.")
STATE: Final = _failure(
    Check.STATE,
    "The guest is in a state in which it cannot be migrated: it waits, was moved, has shut down or crashed.",
    "start it, or resolve that first",
)
MEMORY_LOSS: Final = _warning(
    Check.MEMORY,
    "QEMU before 9.0 without KVM may lose memory writes.",
    "use KVM, or QEMU 9.0 or later, or pause the guest before the migration",
)
BLOCKED: Final = _failure(Check.BLOCKERS, "QEMU says that a device or an option prevents a migration.", "unplug that device")
CAPABILITY: Final = _failure(
    Check.CAPABILITIES, "Somebody has left a capability or a parameter of migration on that does not fit, at either end.", "turn it off"
)
CAPABILITY_UNKNOWN: Final = _warning(
    Check.CAPABILITIES, "A capability of migration is on that nbdtun does not know.", "turn it off if in doubt"
)
USED: Final = _failure(
    Check.JOBS,
    "A block job, an export or a dump is at work on a disk, at either end.",
    "wait for it, or end it with block-job-cancel, job-cancel or block-export-del",
)
THROTTLED: Final = _warning(
    Check.JOBS,
    "A throttle filter of a disk also limits the copy.",
    "raise the limits of its throttle-group with qom-set during the migration",
)
SNAPSHOTS: Final = _failure(
    Check.IMAGES,
    "An image has internal snapshots, which would stay behind.",
    "delete them, or migrate without them: --leave-behind snapshots",
    override="--leave-behind snapshots",
)
BITMAPS: Final = _failure(
    Check.IMAGES,
    "An image has persistent bitmaps that cannot be sent: they are busy, inconsistent or in a backing file, or QEMU cannot send any.",
    "delete them, or migrate without them: --leave-behind bitmaps",
    override="--leave-behind bitmaps",
)
BITMAPS_REFUSED: Final = _failure(
    Check.IMAGES,
    "The destination's image cannot take the persistent bitmaps: it is no qcow2, is larger, or has bitmaps of these names.",
    "use a qcow2 image of the same size there, without such bitmaps; or migrate without them: --leave-behind bitmaps",
    override="--leave-behind bitmaps",
)
LEFT_BEHIND: Final = _warning(Check.IMAGES, "Snapshots or bitmaps stay behind, as --leave-behind says.")
BITMAPS_LOST: Final = _warning(
    Check.IMAGES, "A disk has bitmaps that are in no image.", "backups that rely on them must start again with a full one"
)
TUNNEL: Final = _failure(
    Check.TUNNEL,
    "The destination cannot be reached, is not trusted, or does not admit the source.",
    "check --to, the certificates, and that nbdtun-dest runs there",
    TunnelError,
    TLSError,
    NotAllowed,
)
CLOCK: Final = _warning(
    Check.CLOCK, "The two hosts' clocks differ by more than 5 s.", "synchronise both with NTP; certificate checks depend on it"
)
DESTINATION: Final = _failure(
    Check.DESTINATION,
    "The destination does not know the VM, is busy with it, or its QEMU does not wait for a migration or cannot be asked.",
    "start it with -S -incoming defer",
    NotMigratable,
    VMUnknown,
    VersionMismatch,
    MonitorError,
    CommandFailed,
)
DESERTED: Final = _warning(
    Check.DESTINATION, "The VM has a session at the destination whose source does not answer.", "a new migration will replace that session"
)
NOT_COMPARED: Final = _warning(Check.DESTINATION, "The machines were not compared, as the source's QEMU did not answer.")
MACHINE: Final = _failure(
    Check.MACHINE, "The machine's type or the size of its RAM differs.", "start the destination with the same -machine and -m"
)
MACHINE_SETTING: Final = _failure(
    Check.MACHINE,
    "A property of the machine, or the accelerator, differs.",
    "start the destination with the same -machine and -accel",
    allow=True,
)
CPU_LESS: Final = _failure(
    Check.CPU,
    "The destination's CPU lacks a feature, or has another vendor, or lower levels.",
    "start the destination with the same -cpu",
    allow=True,
)
CPU_PLACES: Final = _failure(
    Check.CPU,
    "The number or the topology of the CPUs differs.",
    "start the destination with the same -smp, and plug in the same CPUs",
    allow=True,
)
CPU_MORE: Final = _warning(Check.CPU, "The destination's CPU has a feature more, or another family, model or stepping.")
DEVICE: Final = _failure(
    Check.DEVICES,
    "A device of the source is missing at the destination, is at another address, or is of another type.",
    "start the destination with the same -device, at the same address",
    allow=True,
)
DEVICES_EXCHANGED: Final = _failure(Check.DEVICES, "Two devices have each other's ids.", "give the devices the same ids there", allow=True)
DEVICE_FACT: Final = _failure(
    Check.DEVICES,
    "A property of a device that its guest can see differs.",
    "use the same value there",
    allow=True,
)
DEVICE_TOLD: Final = _warning(Check.DEVICES, "A MAC address or a port's name differs; the guest keeps the source's.")
DEVICE_LESS: Final = _failure(
    Check.DEVICES, "A virtio device lacks a feature at the destination.", "add it to that device there", allow=True
)
DEVICE_MORE: Final = _warning(Check.DEVICES, "A device, or a feature of one, exists only at the destination.")
USB_PORTS: Final = _failure(
    Check.DEVICES, "A USB device is at another port.", "give each USB device the same port= at both ends", allow=True
)
RAM_BLOCK: Final = _failure(
    Check.RAM,
    "A block of RAM or ROM is missing at the destination, or has another size.",
    "give it the same memory backend, the same size and the same ROM there",
    allow=True,
)
CONTENT: Final = _failure(
    Check.CONTENT,
    "The guest uses content that is not copied: a disk outside QEMU's block layer, files of the host, a device that is passed through.",
    "unplug it first; or give the destination access to the same content, and use --allow-mismatch",
    allow=True,
)
SHARED: Final = _warning(Check.CONTENT, "The guest shares memory with other programs at the source, which stay there.")
ALLOWED: Final = _warning(Check.ALLOWED, "A failure was allowed by --allow-mismatch; or the option names no failure.")
DISKS: Final = _failure(
    Check.DISKS,
    "A disk is not there, is too small, read-only or paired twice, has the same image at both ends, or cannot be copied.",
    "give both ends' disks the same addresses and ids, and the destination's the same size",
    DiskMismatch,
    NotMigratable,
    CommandFailed,
    ConfigError,
)
DISK_SECTORS: Final = _failure(
    Check.DISKS,
    "The destination's image ends within one of its sectors, so that QEMU cannot write to it.",
    "use a qcow2 image there, or a raw one without cache.direct or on 512-byte sectors",
    DiskMismatch,
)
DISK_THREAD: Final = _failure(
    Check.DISKS,
    "A disk's controller has an iothread at the destination, whose QEMU 7.2 would end when the copy has arrived.",
    "use QEMU 8 or later there, or start it without iothread= for that controller",
)
DISK_CACHE: Final = _warning(
    Check.DISKS, "A disk's write cache is off at the source and on at the destination.", "use write-cache=off for the device there"
)
THROUGHPUT: Final = _warning(Check.THROUGHPUT, "The tunnel could not be measured.", "", TunnelError)
BUFFERS: Final = _warning(
    Check.THROUGHPUT,
    "TCP's buffers at one end are smaller than what the line holds.",
    "set net.core.rmem_max and net.core.wmem_max at that host to 67108864, or give nbdtun CAP_NET_ADMIN there, and start it again",
)
ACTIVITY: Final = _warning(Check.ACTIVITY, "The guest's activity could not be measured.", "try again later")
FORECAST: Final = _warning(
    Check.FORECAST,
    "The migration will not converge: the guest changes faster than it can be copied.",
    "use --converge, more --bandwidth or a faster network, or migrate when the guest is less busy",
)
