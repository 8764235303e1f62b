"""How a host is evacuated, as its operator has asked for it: a frozen value, checked when it is made, and kept in the journal."""

from __future__ import annotations

import enum
from typing import Final

from attrs import Attribute, field, frozen

from nbdtun.errors import ConfigError
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.window import Window

#: In the path of the monitors: a VM's name.
PLACE: Final = "{vm}"

_FORM: Final = f"it must be an absolute path with {PLACE} for the VM's name"


class AtEnd(enum.Enum):
    """What is done at the end of the window with VMs that are not ready."""

    PAUSE = "pause"
    ROLL_BACK = "roll-back"


def _count(_: object, attribute: Attribute[int], value: int) -> None:
    least = 0 if attribute.name == "retries" else 1
    if not least <= value <= 1000:
        raise ConfigError(f"--{attribute.name} must be from {least} to 1000")


@frozen(kw_only=True)
class Terms:
    """
    ``qmp`` is the form of the monitors' paths, with ``{vm}`` for a VM's name; or ``libvirt`` the URI of this host's libvirt. ``to`` has the
    destinations, none where nothing is to be moved. ``words`` are the other options of ``nbdtun migrate``, the same for all VMs. ``only``
    are patterns for the VMs' names, all where there are none, ``without`` those of VMs that stay. ``restores``: ``only`` has the names that
    another host's report has, and some may be elsewhere.

    ``bandwidth`` is that of all VMs together, in bytes per second, 0 for no limit. ``copying`` VMs copy at a time. A VM is tried again
    ``retries`` times, the first time after ``pause`` milliseconds. ``window`` has the hours for switchovers, empty for all. ``hooks`` is a
    directory, empty for none; each hook has ``hook_ms`` milliseconds.
    """

    qmp: str = ""
    libvirt: str = ""
    to: tuple[str, ...]
    words: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    restores: bool = False
    without: tuple[str, ...] = ()
    bandwidth: int = 0
    copying: int = field(default=2, validator=_count)
    retries: int = field(default=3, validator=_count)
    pause: int = 10_000
    window: str = ""
    at_end: AtEnd = AtEnd.PAUSE
    hooks: str = ""
    hook_ms: int = 30_000
    rules: Rules = field(factory=Rules)

    def __attrs_post_init__(self) -> None:
        if bool(self.qmp) == bool(self.libvirt):
            raise ConfigError("give --libvirt for libvirt's VMs, or --qmp '/run/qemu/{vm}.qmp' for those without libvirt")
        if self.qmp and not self.qmp.startswith("/"):
            raise ConfigError(f"--qmp {self.qmp}: {_FORM}")
        if len(set(self.to)) < len(self.to):
            raise ConfigError("a destination is given twice")
        for vm, to in self.rules.pins.items():
            if to not in self.to:
                raise ConfigError(f"--pin {vm}={to}: there is no such destination", f"give one of {', '.join(self.to)}")
        if self.window:
            Window.parse(self.window)

    def check_many(self) -> None:
        """
        Check that they are for VMs of any name.

        :raise ConfigError: the monitors' paths have no place for a name.
        """
        if self.qmp and PLACE not in self.qmp:
            raise ConfigError(f"--qmp {self.qmp}: {_FORM}")

    def check_whole(self) -> None:
        """
        Check that VMs can be moved by them: there are destinations, too.

        :raise ConfigError: there is none, or the monitors' paths have no place for a name.
        """
        self.check_many()
        if not self.to:
            raise ConfigError("there is no destination", "give --to ENDPOINT, once for each")

    @property
    def hours(self) -> Window | None:
        """The hours for switchovers; None for all."""
        return Window.parse(self.window) if self.window else None
