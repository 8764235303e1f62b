"""
A Twisted application that migrates a VM by itself, without twistd and without the nbdtun command.

    python examples/embed.py VM QMP-SOCKET DESTINATION TLS-DIR
    python examples/embed.py web1 /run/qemu/web1.qmp tcp:dest.example:10810 /etc/nbdtun

The destination runs ``nbdtun dest --vm web1=...``, or an application with a ``DestinationService``.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from nbdtun.config import MigrateSettings, MigrationSettings, TunnelSettings
from nbdtun.service import NbdtunError, OutcomeUnknown, Progress, migrate


def show(progress: Progress) -> None:
    """Called at each change of phase, and about once a second; the value holds the whole progress."""
    done = sum(disk.done for disk in progress.disks) + progress.ram.done
    print(f"{progress.elapsed:6.1f} s  {progress.phase.value:10}  {done >> 20} MiB  link {progress.link}", flush=True)


async def move(reactor: IReactorCore, vm: str, qmp: str, destination: str, tls: str) -> None:
    """Migrate one VM. A real application does other work meanwhile, and may cancel the Deferred to roll back."""
    settings = MigrateSettings(
        tunnel=TunnelSettings(tls_dir=tls),
        connect=destination,
        qmp=qmp,
        migration=MigrationSettings(vm=vm, bandwidth=500 << 20, downtime=0.3),
    )
    try:
        final = await migrate(reactor, settings, show)
    except OutcomeUnknown as error:
        raise SystemExit(f"paused here, outcome unknown; run nbdtun migrate --resolve: {error}") from error
    except NbdtunError as error:
        raise SystemExit(f"still here, as before: {error} ({error.code})") from error
    print(f"{vm} runs at the destination; downtime {final.downtime_ms or 0:.0f} ms")


def main(reactor: IReactorCore, *words: str) -> Deferred[None]:
    """The main function for :func:`twisted.internet.task.react`."""
    vm, qmp, destination, tls = words
    return Deferred.fromCoroutine(move(reactor, vm, qmp, destination, tls))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    react(main, sys.argv[1:])
