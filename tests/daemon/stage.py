"""A service layer that only remembers what it was asked for, and the line for a mistake in the options."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from twisted.application.service import IService, Service

import nbdtun.service
from nbdtun.errors import ConfigError


class FakeServices(ModuleType):
    """Stands for ``nbdtun.service``: remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__("nbdtun.service")
        self.__path__ = nbdtun.service.__path__  # what is inside is real
        self.asked: list[tuple[str, Any]] = []
        self.error: ConfigError | None = None
        self.governed: list[str] = []
        self.ends: list[Any] = []
        self.taken: list[Any] = []
        self.DaemonControl = self
        for name in ("SourceService", "DestinationService", "MigrationService"):
            setattr(self, name, self._maker(name))

    def of(self, service: IService, plugin: str, reload: object = None, processes: object = None) -> IService:
        self.governed.append(plugin)
        control = Service()
        control.reload = reload  # type: ignore[attr-defined]
        return control

    def _maker(self, name: str) -> Callable[..., IService]:
        def make(reactor: Any, settings: Any, *at_its_end: Any, **how: Any) -> IService:
            if self.error is not None:
                raise self.error
            self.asked.append((name, settings))
            self.ends += at_its_end
            made = Service()
            made.household = made.senders = made.listening = None  # type: ignore[attr-defined]
            made.take = self.taken.append  # type: ignore[attr-defined]
            return made

        return make


def mistake(read: Callable[..., object], *words: str) -> str:
    """The one line that a wrong command line ends in."""
    with pytest.raises(ConfigError) as caught:
        read(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)
