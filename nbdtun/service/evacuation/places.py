"""Where the migration of a VM is reached, and its settings: by the terms of the evacuation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbdtun.config import MigrateSettings
from nbdtun.config.build import settings_of
from nbdtun.config.evacuation.words import given_by
from nbdtun.config.libvirt import DomainSettings
from nbdtun.evacuation.terms import Terms
from nbdtun.service.control.names import Name
from nbdtun.service.libvirt.migration import name_of


class Places:
    """
    The settings of each VM's migration.

    :raise ConfigError: the options of ``terms`` are not valid.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._given: Mapping[str, Any] = {**given_by(terms.words), "libvirt": terms.libvirt or None}

    def __repr__(self) -> str:
        return f"<Places of {self._terms.libvirt or self._terms.qmp}>"

    @property
    def run_dir(self) -> str | None:
        """The ``--run-dir`` of all."""
        found: str | None = self._given["run_dir"]
        return found

    def settings(self, vm: str, place: str, to: str) -> MigrateSettings | DomainSettings:
        """
        The settings of the migration of ``vm`` to one destination.

        :raise ConfigError: they do not fit.
        """
        return settings_of(vm, None if self._terms.libvirt else place, to, self._given)

    def name(self, vm: str, place: str) -> Name:
        """The name of the migration's control socket."""
        settings = self.settings(vm, place, self._terms.to[0])
        return name_of(settings) if isinstance(settings, DomainSettings) else Name.of_vm(vm, place)

    def words(self, vm: str, place: str, to: str) -> list[str]:
        """The words that follow ``nbdtun migrate``: each VM has one process, as several copy at a time."""
        whose = [f"--libvirt={self._terms.libvirt}"] if self._terms.libvirt else ["--qmp", place]
        return [vm, *whose, "--to", to, "--workers", "1", *self._terms.words]
