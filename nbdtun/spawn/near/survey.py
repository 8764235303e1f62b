"""The QEMU at the source: the process behind its monitor, and what the monitor tells."""

from __future__ import annotations

import os
from pathlib import Path

from nbdtun.errors import CommandFailed, NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.machine import machine
from nbdtun.ownership.given import reason
from nbdtun.spawn.command.line import parse
from nbdtun.spawn.near.images import images
from nbdtun.spawn.near.process import Process, read_process
from nbdtun.spawn.rewrite.source import Source


async def survey(monitor: Monitor) -> Source:
    """
    Read what is known of the QEMU behind ``monitor``.

    :raise MonitorError: QEMU does not answer.
    :raise NotMigratable: its process cannot be read.
    :raise ConfigError: its command line is not known to nbdtun.
    """
    if monitor.credentials is None or not monitor.credentials.pid:
        raise NotMigratable(f"{monitor.path}: its QEMU is in another namespace of processes", "run nbdtun on the host itself")
    process = read_process(monitor.credentials.pid)
    directory = "" if "-daemonize" in process.words or "--daemonize" in process.words else process.directory
    kind = (await machine(monitor)).type
    if not kind:
        raise NotMigratable(f"{monitor.name}: QEMU does not tell its machine's type")
    return Source(
        vm=monitor.name,
        emulator=process.program,
        options=parse(process.words, lambda path: _text(process, path)),
        machine=kind,
        qmp=os.path.realpath(os.path.dirname(monitor.path)) + "/" + os.path.basename(monitor.path),
        directory=directory,
        user=process.user,
        kvm=await _has_kvm(monitor),
        nodes=await images(monitor),
        plugged=await _plugged(monitor),
        files=process.files,
    )


def _text(process: Process, path: str) -> str:
    try:
        return Path(process.directory, path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotMigratable(f"-readconfig {path} cannot be read: {reason(error)}") from None


async def _has_kvm(monitor: Monitor) -> bool:
    try:
        return bool((await monitor.execute("query-kvm"))["enabled"])
    except CommandFailed:
        return False


async def _plugged(monitor: Monitor) -> frozenset[str]:
    """The ids of all devices that have one."""
    told = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
    return frozenset(each["name"] for each in told if each["type"].startswith("child<"))
