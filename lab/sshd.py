"""A real sshd on a free port of the loopback, with keys and a configuration of its own, and a client that knows it.

It needs no root: without it, sshd serves the user that it runs as. What the client needs stands in
`environment`: an `ssh` on the PATH that reads our configuration, and none of the user's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

from lab.crossing import VM, Attempt
from lab.daemon import BIN, free_port
from lab.pair import Pair
from lab.process import MARK, Process, marked, wait

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "/usr/sbin/sshd"

CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM {pam}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH={path} XDG_CACHE_HOME={directory}/cache {mark}={pid}
"""

CLIENT = """\
Host *
    IdentityFile {directory}/id
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
Host dest localhost
    HostName {address}
    Port {port}
    HostKeyAlias dest
{more}
"""

ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"']
"""Runs a command in a network of its own, which has nothing but its loopback."""


UNIT = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--unit", "lab-sshd"]
"""Runs a command outside of all login sessions."""


class There(Protocol):
    """A host that is made of namespaces."""

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to run there."""

    def path(self, inside: str, /) -> Path:
        """Where this machine has a file of the host's own."""


class Sshd(Process):
    """Serves this user, who is `dest`'s for the client. A context manager that ends it, and what it has started."""

    def __init__(
        self, directory: Path, *, far: bool = False, host: There | None = None, address: str = "127.0.0.1", pam: bool = False
    ) -> None:
        """One that is `far` is in another network: only ssh leads there, through the jump host `jump`, and to none of its ports.

        `host` is one that it runs at, which has this `address`; this machine if None. With `pam` it is a unit of systemd's, whose sessions
        logind knows.
        """
        self.user = ""
        """Who logs in; this user if empty."""
        self._pam = pam
        self._jump: Process | None = None
        self.directory = directory / "ssh"
        self.directory.mkdir()
        self.run_dir = self.directory / "run"
        """Where the far end has its sockets, and its log."""
        port = free_port()
        for name in ("host_key", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / name], check=True)
        shutil.copy(self.directory / "id.pub", self.directory / "authorized_keys")
        self.know("host_key.pub")
        self.script("bin", "ssh", f'exec {shutil.which("ssh")} -F {self.directory}/ssh_config "$@"')
        self.script("far", "nbdtun", f'exec {BIN}/nbdtun "$@" --run-dir {self.run_dir}')
        path = f"{self.directory}/far:/usr/bin:/bin"
        values = {"path": path, "mark": MARK, "pid": os.getpid(), "pam": "yes" if pam else "no"}
        (self.directory / "sshd_config").write_text(CONFIG.format(directory=self.directory, address=address, port=port, **values))
        if os.geteuid() == 0:
            run = host.path("/run/sshd") if host else Path("/run/sshd")
            run.mkdir(mode=0o755, exist_ok=True)  # where it locks itself up; its service would make it
        there = host.enter if host else ALONE if far else UNIT if pam else []
        super().__init__([*there, SSHD, "-D", "-e", "-f", self.directory / "sshd_config"], self.directory / "sshd.log")
        jump = self._jump_host() if far else ""
        (self.directory / "ssh_config").write_text(CLIENT.format(directory=self.directory, address=address, port=port, more=jump))
        wait(lambda: "Server listening" in self.log(), 10, "sshd", self)

    def _jump_host(self) -> str:
        """Begin a host that both networks reach: an sshd for each connection, which is there and is connected to here."""
        port = free_port()
        sshd = f"nsenter --target {self.pid} --net {SSHD} -i -f {self.directory}/sshd_config"
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
        self._jump = Process(["socat", listen, f"EXEC:{sshd}"], self.directory / "jump.log")
        known = (self.directory / "known_hosts").read_text()
        (self.directory / "known_hosts").write_text(known + known.replace("dest ", "jump ", 1))
        return f"    ProxyJump jump\nHost jump\n    HostName 127.0.0.1\n    Port {port}\n    HostKeyAlias jump"

    def cut_jumps(self) -> int:
        """End all connections through the jump host; returns their number."""
        assert self._jump is not None
        open_ones = Path(f"/proc/{self._jump.pid}/task/{self._jump.pid}/children").read_text().split()
        for pid in open_ones:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return len(open_ones)

    def kill(self) -> None:
        """End it, and its jump host."""
        if self._pam:
            subprocess.run(["systemctl", "stop", UNIT[-1]], check=False)
        if self._jump is not None:
            self._jump.kill()
        super().kill()

    @property
    def to(self) -> str:
        """What `--to` takes."""
        return f"ssh://{self.user}@dest" if self.user else "ssh://dest"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which `ssh` is a client of this one."""
        return {"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}", "XDG_CACHE_HOME": f"{self.directory}/near"}

    def script(self, folder: str, name: str, lines: str) -> None:
        """Put a command into one of the two directories: `bin` is on the client's PATH, `far` on that of the sessions."""
        path = self.directory / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)

    def know(self, key: str) -> None:
        """Let the client know the host by this one of the directory's public keys."""
        kind, text = (self.directory / key).read_text().split()[:2]
        (self.directory / "known_hosts").write_text(f"dest {kind} {text}\n")

    def also(self, name: str, other: Sshd) -> None:
        """Let the client know another one, by this name."""
        theirs, ours = ((sshd.directory / "ssh_config").read_text() for sshd in (other, self))
        block = theirs.replace("Host *", f"Host {name}").replace("Host dest localhost\n", "")
        (self.directory / "ssh_config").write_text(f"{block}{ours}")  # the first value of each counts

    def far_log(self) -> str:
        """What the far end has written down, as far as it was not removed with its good end."""
        return "".join(log.read_text() for log in self.run_dir.glob("*.log"))

    def __enter__(self) -> Self:
        return self


class SSHCrossing:
    """A pair of QEMUs, and the way by ssh between them; a context manager that ends it."""

    def __init__(
        self, pair: Pair, *, far: bool = False, qmp: tuple[Path, Path] | None = None, options: Sequence[str] = (), pam: bool = False
    ) -> None:
        self.pair = pair
        self.qmp = qmp or (pair.source.qmp_path, pair.destination.qmp_path)
        self.run_dir = pair.directory / "run"
        self.sshd = Sshd(pair.directory, far=far, pam=pam)
        self._options = list(options)
        self._attempts: list[Attempt] = []

    def arguments(self, *more: str) -> list[str]:
        """What follows `nbdtun migrate`, or `check`."""
        ends = [VM, "--qmp", f"{self.qmp[0]}", "--to", self.sshd.to, "--far-qmp", f"{self.qmp[1]}"]
        return [*ends, "--run-dir", f"{self.run_dir}", "--settle", "200ms", *self._options, *more]

    def migrate(self, *more: str) -> Attempt:
        """Begin a migration."""
        number = len(self._attempts) + 1
        self._attempts.append(Attempt(self.pair.directory, *self.arguments(*more), number=number, env=self.sshd.environment))
        return self._attempts[-1]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of nbdtun's, to its end: `command("check", ...)`."""
        env = {**os.environ, **self.sshd.environment}
        run = [f"{BIN}/nbdtun", words[0], *self.arguments(*words[1:])]
        return subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=env)

    def processes(self, *words: str) -> list[int]:
        """The processes of either end whose command lines have all of these words."""
        return sorted(pid for pid, command in marked().items() if all(word in command for word in words))

    def links(self) -> list[int]:
        """The ssh processes of links, and of later connections."""
        return self.processes("ssh -F", "--over-ssh join")

    def first(self) -> list[int]:
        """The ssh process of the first connection."""
        return self.processes("ssh -F", "--over-ssh start")

    def receivers(self) -> list[int]:
        """The processes of the far end: relays, and the receiver."""
        return [pid for pid in self.processes("nbdtun receive") if pid not in self.processes("ssh -F")]

    def leftovers(self) -> list[str]:
        """What is left at either end, once the far end has had time to end."""
        with suppress(TimeoutError):
            wait(lambda: not self.processes("--over-ssh"), 10, "the end of the far end")
        files = (f"{path.relative_to(self.pair.directory)}" for end in (self.run_dir, self.sshd.run_dir) for path in end.rglob("*"))
        return [*map(str, self.processes("--over-ssh")), *sorted(files)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for attempt in self._attempts:
            attempt.kill()
        for pid in self.processes("--over-ssh"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.sshd.kill()
