"""Two hosts of libvirt on one machine: each a libvirtd with directories, a name and a process tree of its own.

Linux's namespaces make them: a host has its own mounts (`/etc/libvirt`, `/run`, `/var/lib/libvirt`...), its own
name, since libvirt refuses to migrate to the host that it is on, and its own processes, so that its QEMUs, which
libvirt makes daemons of, end with it. The network is shared. It takes root (in a user's own namespace libvirt fails
to change groups), and no KVM.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from lab.cache import CACHE, LAB
from lab.process import Process, wait

#: The first of a hundred ports for displays. Other processes' libvirts look for free ones of theirs at the same time.
DISPLAYS = 10_000 + os.getpid() % 200 * 100

SPARE = Path("/var/lib/libvirt/nbdtun")
"""Where each host finds its directory `spare`: for disks, consoles, and the sockets of the tunnel; QEMU's own are in `qemu`."""

KEEPALIVES = 60
"""libvirt gives up a connection that was silent for so many times 5 s; its own default is 5 times."""

_PRIVATE = {
    "etc": "/etc/libvirt",
    "run": "/run",
    "state": "/var/lib/nbdtun",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
_UNSHARE = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]


def unable() -> str:
    """Why there can be no such hosts here; empty if there can."""
    if not shutil.which("libvirtd") or not shutil.which("virsh"):
        return "libvirt is not installed"
    if os.geteuid() != 0:
        return "hosts of libvirt take root"
    if not any(each.pw_name in ("libvirt-qemu", "qemu") for each in pwd.getpwall()):
        return "only a part of libvirt is installed: its QEMUs have no user"
    probe = subprocess.run([*_UNSHARE, "mount", "--bind", "/tmp", "/mnt"], capture_output=True, text=True)
    return "" if probe.returncode == 0 else f"no namespaces of our own: {probe.stderr.strip()}"


class Host(Process):
    """
    A libvirtd; its QEMUs run as `user`. `keepalive` has the lines of its two configuration files about that.

    It has on its disks what another one of this name and directory has left there.
    """

    def __init__(self, directory: Path, name: str, user: str = "root", keepalive: str = f"keepalive_count = {KEEPALIVES}\n") -> None:
        self.name = name
        self.user = user
        self._keepalive = keepalive
        self._directory = directory / name
        for folder in _PRIVATE:
            (self._directory / folder).mkdir(parents=True, exist_ok=True)
        self.spare = self._directory / "lib/nbdtun"
        (self.spare / "qemu").mkdir(parents=True, exist_ok=True)
        self._settle()
        mounts = [f"mkdir -p {place} && mount --bind {self._directory / folder} {place}" for folder, place in _PRIVATE.items()]
        *beside, last = [" ".join([*self.become, f"{path}", "--pid-file", f"{SPARE}/{path.name}.pid"]) for path in self.daemons()]
        libvirtd = f"{{ {''.join(f'{each} & ' for each in beside)}{last}; exit; }}"  # the shell buries the dead
        script = " && ".join([*mounts, *self.mounts(directory), f"hostname {name}", libvirtd])
        super().__init__([*_UNSHARE, "sh", "-c", script], directory / f"{name}.log")
        wait(self.socket.exists, 30, f"libvirtd of {name}", self)
        wait(self._knows_its_emulator, 30, f"an emulator of {name}", self)

    mode = "system"
    """Whose libvirt it is, as URIs have it."""

    become: ClassVar[Sequence[str]] = ()
    """What stands before a command of the user who has this libvirt."""

    @property
    def socket(self) -> Path:
        """That of libvirtd, as this machine sees it."""
        return self._directory / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """By which libvirtd is reached from anywhere on this machine."""
        return f"qemu+unix:///{self.mode}?socket={self.socket}"

    def daemons(self) -> list[Path]:
        """libvirt's daemons; the host ends with the last one."""
        return [Path("libvirtd")]

    def mounts(self, directory: Path) -> Iterator[str]:
        """More commands that make the host's own mounts."""
        yield from ()

    def configuration(self) -> Iterator[tuple[str, str]]:
        """The files in `etc`, with their texts."""
        yield (
            "libvirtd.conf",
            f'host_uuid = "{uuid.uuid5(uuid.NAMESPACE_URL, f"{self._directory}")}"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n'
            'unix_sock_rw_perms = "0700"\nlog_outputs = "2:stderr"\n'
            f"{self._keepalive}",
        )
        yield (
            "qemu.conf",
            f'user = "{self.user}"\ngroup = "{_group(self.user)}"\nsecurity_driver = "none"\nstdio_handler = "file"\n'
            "cgroup_controllers = []\nnamespaces = []\nremember_owner = 0\nmax_core = 0\n"
            f"remote_display_port_min = {DISPLAYS}\nremote_display_port_max = {DISPLAYS + 99}\n"
            f"{self._keepalive}",
        )

    def _settle(self) -> None:
        for name, text in self.configuration():
            file = self._directory / "etc" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        for folder in (self.spare, self.spare / "qemu"):
            shutil.chown(folder, self.user, _group(self.user))

    def _knows_its_emulator(self) -> bool:
        """libvirtd asks QEMU what it can do when that is first needed, which has failed once on a busy machine; then it asks again."""
        with suppress(RuntimeError):
            return bool(self.virsh("domcapabilities"))
        return False

    @property
    def init(self) -> int:
        """The process by whose id the host's namespaces are entered: the first one in them."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        wait(lambda: bool(children.read_text().split()), 10, f"the first process of {self.name}", self)
        return int(children.read_text().split()[0])

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to run there."""
        return ["nsenter", "--target", f"{self.init}", "--mount", "--uts", "--pid", *self.become]

    def path(self, place: str) -> Path:
        """Where this machine sees a path of the host's that is private to it."""
        folder, root = next((folder, root) for folder, root in _PRIVATE.items() if place.startswith(f"{root}/"))
        return self._directory / folder / place[len(root) + 1 :]

    def virsh(self, *arguments: str, uri: str = "", timeout: float = 60) -> str:
        """What a command of virsh prints; `subprocess.CalledProcessError` if it fails."""
        command = ["virsh", "-q", "-c", uri or self.uri, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()


class Modular(Host):
    """A host with libvirt's modular daemons, one for each driver, which `lab/modular.sh` has compiled. There is no libvirtd."""

    SIBLINGS = ("virtstoraged", "virtnetworkd", "virtsecretd")

    @property
    def socket(self) -> Path:
        """That of virtqemud, as this machine sees it."""
        return self._directory / "run/libvirt/virtqemud-sock"

    def daemons(self) -> list[Path]:
        """libvirt's daemons; the host ends with the last one."""
        return [CACHE / "modular" / name for name in (*self.SIBLINGS, "virtqemud")]

    def configuration(self) -> Iterator[tuple[str, str]]:
        """The files in `etc`, with their texts: each daemon has one."""
        for name, text in super().configuration():
            files = [f"{each.name}.conf" for each in self.daemons()] if name == "libvirtd.conf" else [name]
            yield from ((file, text) for file in files)


class Guarded(Host):
    """A libvirtd that asks polkit who may use it, with a polkit of its own."""

    def mounts(self, directory: Path) -> Iterator[str]:
        """polkit, and the bus on which it is asked."""
        yield "mkdir -p /run/dbus && dbus-daemon --system --fork && { /usr/lib/polkit-1/polkitd --no-debug & }"

    def configuration(self) -> Iterator[tuple[str, str]]:
        """The files in `etc`, with their texts."""
        for name, text in super().configuration():
            yield name, text.replace('auth_unix_rw = "none"', 'auth_unix_rw = "polkit"').replace('"0700"', '"0777"')


class Session(Host):
    """The libvirtd of an ordinary user, `qemu:///session`, whose host has a `/tmp` of its own."""

    mode = "session"
    home = "/var/lib/libvirt/home"
    become = (
        *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "env"),
        *(f"HOME={home}", f"XDG_RUNTIME_DIR={home}/run", "XDG_CONFIG_HOME=/etc/libvirt/home"),
    )

    def __init__(self, directory: Path, name: str, keepalive: str = "") -> None:
        super().__init__(directory, name, "nobody", keepalive)

    @property
    def socket(self) -> Path:
        """That of libvirtd, as this machine sees it."""
        return self.path(f"{self.home}/run/libvirt/libvirt-sock")

    def mounts(self, directory: Path) -> Iterator[str]:
        """What this user needs of this machine is where it is, and the way to it is open."""
        yield f"install -d -o nobody -g nogroup {self.home} {self.home}/run && chown -R nobody /etc/libvirt"
        needed = {
            path: Path(f"/var/lib/libvirt/needed-{number}") for number, path in enumerate((directory, LAB.parent, Path(sys.base_prefix)))
        }
        for path, held in needed.items():
            yield f"mkdir {held} && mount --bind {path} {held}"
        for root in {"/tmp", *(f"{above}" for path in needed for above in path.parents if not above.stat().st_mode & stat.S_IXOTH)}:
            own = self.path(root)
            yield f"mkdir {own} && chmod 1777 {own} && mount --bind {own} {root}"
            for path, held in needed.items():
                if path.is_relative_to(root):
                    yield f"mkdir -p {path} && mount --bind {held} {path}"

    def path(self, place: str) -> Path:
        """Where this machine sees a path of the host's that is private to it."""
        return super().path(place) if place.startswith("/var") else self._directory / f"own{place.replace('/', '-')}"

    def configuration(self) -> Iterator[tuple[str, str]]:
        """The files in `etc`, with their texts."""
        for name, text in super().configuration():
            yield f"home/libvirt/{name}", text


def _group(user: str) -> str:
    """The name of a user's own group."""
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


class Inside(Process):
    """A command at a host: in its namespaces, whose sockets and directories are at the paths that the host knows."""

    def __init__(
        self, host: Host, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None, *, output: Path | None = None
    ) -> None:
        words = [*host.enter, "setpriv", "--pdeathsig", "KILL", *command]
        Process.__init__(self, words, log, env, output=output)  # a subclass is an Attempt, too

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone: nsenter waits for it, and has its status."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(OSError):
            for child in children.read_text().split():
                os.kill(int(child), number)
