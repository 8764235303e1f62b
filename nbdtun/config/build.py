"""
From the values of options to settings, in the same way for the command, the daemons and the endpoint strings.

The keys are the options' names, with ``_`` for ``-``. An option that the caller does not have is missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, fields

from nbdtun.config.answers import chosen, make_answers
from nbdtun.config.belongings import all_of
from nbdtun.config.libvirt import DomainSettings
from nbdtun.config.settings import FarSettings, MigrateSettings, TunnelSettings
from nbdtun.config.ssh import is_ssh
from nbdtun.config.timeouts import make_timeouts
from nbdtun.errors import ConfigError
from nbdtun.libvirt.values import mode_of
from nbdtun.migration.settings import HOLD, MigrationSettings
from nbdtun.tls.store import LIBVIRT_PKI, Layout

Given = Mapping[str, Any]
#: The credential with the passphrase of the key.
PASSWORD: Final = "tls-password"


def tunnel_settings(given: Given) -> TunnelSettings:
    """
    Make the settings of one end of a tunnel.

    :raise ConfigError: the values do not fit.
    """
    names = (field.name for field in fields(TunnelSettings))
    values = {name: given[name] for name in names if name in given}
    if values.get("tls_layout") is Layout.LIBVIRT and values.get("tls_dir") is None:
        values["tls_dir"] = LIBVIRT_PKI
    if values.get("tls_dir") is not None and values.get("tls_password_file") is None:
        values["tls_password_file"] = credential(PASSWORD)
    return TunnelSettings(**values)


def credential(name: str) -> str | None:
    """The path of a credential that systemd has given to this service (systemd.exec(5), LoadCredential=); None if there is none."""
    path = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), name)
    return path if os.path.isabs(path) and os.path.exists(path) else None


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
        connections=given["connections"] or 0,
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


def settings_of(vm: str, qmp: str | None, connect: str, given: Given) -> MigrateSettings | DomainSettings:
    """
    Make the settings of the migration of ``vm``: of the QEMU with the monitor ``qmp``, or of libvirt's VM.

    :raise ConfigError: the values do not fit.
    """
    if given.get("libvirt"):
        return _domain_settings(vm, qmp, connect, given)
    assert qmp is not None
    if given.get("dest_xml"):
        raise ConfigError("--dest-xml is for --libvirt")
    return MigrateSettings(
        tunnel=tunnel_settings({**given, "bandwidth": None}),  # here QEMU itself keeps to the limit
        connect=connect,
        far=far_settings(given),
        code=given.get("code"),
        qmp=qmp,
        migration=migration_settings(vm, given),
        answers=make_answers(given),
    )


def _domain_settings(vm: str, qmp: str | None, connect: str, given: Given) -> DomainSettings:
    """The settings of a migration that libvirt does."""
    if qmp is not None or given["far_qmp"] is not None:
        raise ConfigError("--qmp and --far-qmp are for VMs without libvirt; leave them out with --libvirt")
    far = far_settings(given)
    if is_ssh(connect):
        far = evolve(far, libvirt=f"qemu:///{mode_of(given['libvirt'])}")
    return DomainSettings(
        tunnel=tunnel_settings({**given, "bandwidth": None}),
        connect=connect,
        far=far,
        code=given.get("code"),
        uri=given["libvirt"],
        migration=migration_settings(vm, given),
        answers=make_answers(given),
        dest_xml=given["dest_xml"] or "",
    )
