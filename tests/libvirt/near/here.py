"""The source's libvirt on paper, with one domain."""

from __future__ import annotations

from typing import Any

from attrs import define, field

UUID = "11111111-2222-3333-4444-555555555555"
OFF = (5, 1)
"""virDomainGetState of a domain that was shut down."""


@define
class Here:
    """The source's libvirt, with web1 in a state (None: it has none), and what was done to it."""

    now: tuple[int, int] | None
    persistent: bool = False
    job: int = 0
    done: list[Any] = field(factory=list)

    async def do(self, work: Any) -> Any:
        return work(self)

    def listAllDomains(self) -> list[Here]:
        return [self] if self.now else []

    def lookupByUUIDString(self, uuid: str) -> Here:
        return self

    def name(self) -> str:
        return "web1"

    def state(self) -> tuple[int, int] | None:
        return self.now

    def jobStats(self) -> dict[str, int]:
        assert self.isActive(), "libvirt refuses that"
        return {"type": self.job}

    def UUIDString(self) -> str:
        return UUID

    def isPersistent(self) -> bool:
        return self.persistent

    def isActive(self) -> bool:
        return self.now != OFF

    def destroy(self) -> None:
        self.done.append("destroy")

    def undefineFlags(self, flags: int) -> None:
        self.done.append(("undefine", flags))

    def setAutostart(self, on: int) -> None:
        self.done.append(("autostart", on))

    def resume(self) -> None:
        self.done.append("resume")

    def suspend(self) -> None:
        self.done.append("suspend")
