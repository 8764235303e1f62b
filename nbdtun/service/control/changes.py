"""
The changes that a running daemon was told to make. Its earlier processes make them as well, and its successor keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from nbdtun.service.control.commands import NO_LIMIT, ChangedVMs


@frozen
class Changes:
    """What a command has changed: ``limits``, as in :class:`~.commands.Set`, the VMs, or that the configuration ``file`` was read again."""

    limits: Mapping[str, int] = field(factory=dict)
    vms: ChangedVMs = field(factory=ChangedVMs)
    file: bool = False


@frozen
class Kept:
    """
    What was set by hand and still holds: ``limits``, and VMs by name, with ``NAME=PATH``, or nothing for one that was removed. The options
    had the bandwidth ``configured``; a new program whose options have another one goes by them.
    """

    configured: int = NO_LIMIT
    limits: Mapping[str, int] = field(factory=dict)
    vms: Mapping[str, str] = field(factory=dict)


class Memory:
    """Remembers what was set by hand; the options have the bandwidth ``configured``."""

    def __init__(self, configured: int) -> None:
        self._configured = configured
        self._limits: dict[str, int] = {}
        self._vms: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Memory of {self.kept}>"

    @property
    def kept(self) -> Kept:
        """What holds."""
        return Kept(self._configured, {**self._limits}, {**self._vms})

    def set(self, changes: Changes) -> None:
        """It was set."""
        self._limits |= changes.limits
        for text, name in [(text, text.partition("=")[0]) for text in changes.vms.add] + [("", name) for name in changes.vms.remove]:
            self._vms.pop(name, None)
            self._vms[name] = text

    def configure(self, bandwidth: int) -> None:
        """The options have another bandwidth, which takes the place of one that was set."""
        self._configured = bandwidth
        self._limits.pop("bandwidth", None)

    def changes_of(self, kept: Kept) -> Changes:
        """What this process must change to go on with what was set at the one before it."""
        limits = kept.limits if kept.configured == self._configured else {}
        add, remove = tuple(text for text in kept.vms.values() if text), tuple(name for name, text in kept.vms.items() if not text)
        return Changes(limits, ChangedVMs(add, remove))
