"""
From the values of options to settings, in the same way for the command, the daemons and the endpoint strings.

The keys are the options' names, with ``_`` for ``-``. An option that the caller does not have is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import fields

from nbdtun.config.answers import chosen
from nbdtun.config.belongings import all_of
from nbdtun.config.settings import FarSettings, TunnelSettings
from nbdtun.config.timeouts import make_timeouts
from nbdtun.errors import ConfigError
from nbdtun.migration.settings import HOLD, MigrationSettings

Given = Mapping[str, Any]


def tunnel_settings(given: Given) -> TunnelSettings:
    """
    Make the settings of one end of a tunnel.

    :raise ConfigError: the values do not fit.
    """
    names = (field.name for field in fields(TunnelSettings))
    return TunnelSettings(**{name: given[name] for name in names if name in given})


def far_settings(given: Given) -> FarSettings:
    """
    Make the settings of a far end that ssh starts.

    :raise ConfigError: the values do not fit.
    """
    ports, remote = given["port_range"], given["remote_command"]
    targets, push = given.get("far_target", ()), not given.get("no_push", False)
    through, qmp = given["through_ssh"], given["far_qmp"] or ""
    return FarSettings(qmp=qmp, ports=ports, through_ssh=through, remote=remote, targets=targets, push=push)


def migration_settings(vm: str, given: Given) -> MigrationSettings:
    """
    Make the settings of the migration of ``vm``.

    :raise ConfigError: the values do not fit.
    """
    return MigrationSettings(
        vm=vm,
        disks=chosen(given["disk"]),
        allowed=given["allow_mismatch"],
        leave_behind=all_of(given["leave_behind"]),
        bandwidth=given["bandwidth"],
        downtime=given["downtime"],
        converge=given["converge"] or frozenset(),
        max_downtime=given["max_downtime"],
        timeouts=make_timeouts(given["timeout"], given["stall_timeout"], given["on_timeout"]),
        switchover=_switchover(given["hold"], given["switchover"]),
        settle=given["settle"],
        keep_source=given.get("keep_source", False),
    )


def _switchover(hold: bool, moment: float | None) -> float:
    if hold and moment is not None:
        raise ConfigError("--hold waits for a word, and --switchover for a time: give one of them")
    return HOLD if hold else moment or 0.0
