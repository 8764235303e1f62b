"""A rack for ansible-core: two hosts that are namespaces of this machine, each with a real sshd, and the collection as it is built.

The controller reaches both by ssh, and they reach each other by ssh, as nbdtun does. The hosts of a `Rack` have bare QEMUs, those of a
`LibvirtRack` have libvirtds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from lab import hosts, libvirt
from lab.collection import built, run
from lab.daemon import BIN
from lab.process import Process
from lab.sshd import SSHD, Sshd, There

NAMES = ("hv1", "hv2")

_CONFIG = """\
[defaults]
inventory = {directory}/inventory.json
collections_path = {directory}/collections
home = {directory}/controller
localhost_warning = False
stdout_callback = ansible.builtin.default
callback_result_format = yaml
retry_files_enabled = False
[ssh_connection]
ssh_executable = {directory}/ssh
ssh_args = -o ControlMaster=no
pipelining = True
"""


def keys_of(directory: Path) -> str:
    """How ssh knows an sshd, and is known to it, whose keys are in this directory."""
    return f"IdentityFile {directory}/id\nUserKnownHostsFile {directory}/known_hosts\nHostKeyAlias dest\n"


def configure(directory: Path, ways: Mapping[str, str]) -> dict[str, str]:
    """
    Configure a controller in this directory: the collection, the inventory, and ssh, with the lines of its configuration for each host.

    Returns the environment of Ansible's commands.
    """
    blocks = (f"Host {name}\nIdentitiesOnly yes\nStrictHostKeyChecking yes\n{lines}" for name, lines in ways.items())
    (directory / "ssh_config").write_text("".join(blocks))
    (directory / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {directory}/ssh_config "$@"\n')
    (directory / "ssh").chmod(0o755)
    known: dict[str, Any] = {name: {"ansible_remote_tmp": f"/run/{name}"} for name in ways}
    rack = {"rack": {"hosts": known, "vars": {"ansible_python_interpreter": "/usr/bin/python3"}}}
    (directory / "inventory.json").write_text(json.dumps(rack))
    (directory / "ansible.cfg").write_text(_CONFIG.format(directory=directory))
    run("ansible-galaxy", "collection", "install", "-p", directory / "collections", built(directory))
    return {"ANSIBLE_CONFIG": f"{directory}/ansible.cfg", "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


class Kind(There, Protocol):
    """A host that can be ended."""

    def kill(self) -> None:
        """End it, with all that runs there."""


H = TypeVar("H", bound=Kind)


class Controller(Generic[H]):
    """ansible-core, and two hosts with sshds; a context manager that ends them, with all that runs there."""

    addresses: ClassVar[Sequence[str]]
    """Those of the hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ended = ExitStack()
        try:
            self.hosts = [self._boot(name) for name in NAMES]
            self._connect()
            self.sshds = [self._sshd(number) for number in range(len(NAMES))]
            self._configure()
        except BaseException:
            self._ended.close()
            raise

    @property
    def enter(self) -> Sequence[str]:
        """What stands before a command that is to run where the controller is: nothing if that is this machine."""
        return ()

    def _boot(self, name: str) -> H:
        """A host comes up, with what it has on its disks."""
        raise NotImplementedError

    def _connect(self) -> None:
        """The hosts reach each other, and the controller reaches them."""

    def _sshd(self, number: int) -> Sshd:
        sshd = Sshd(self.directory / NAMES[number], host=self.hosts[number], address=self.addresses[number])
        self._ended.enter_context(sshd)
        sshd.script("far", "nbdtun", f'exec {BIN}/nbdtun "$@"')
        sshd.script("far", "ssh", f'exec {self.directory}/ssh "$@"')
        return sshd

    def _configure(self) -> None:
        """For the controller, and for the hosts, which reach each other by the same names."""
        ways = {}
        for name, sshd, address in zip(NAMES, self.sshds, self.addresses, strict=True):
            told = (sshd.directory / "ssh_config").read_text()
            port = next(line.split()[1] for line in told.splitlines() if line.split()[:1] == ["Port"])
            ways[name] = f"HostName {address}\nPort {port}\n{keys_of(sshd.directory)}"
        self._env = configure(self.directory, ways)

    def reboot(self, number: int) -> None:
        """A host ends, with all that runs there, and comes up again with what it has on its disks."""
        name, sshd = NAMES[number], self.sshds[number]
        sshd.kill()
        self.hosts[number].kill()
        shutil.rmtree(self.hosts[number].path("/run/"))
        self.hosts[number] = host = self._boot(name)
        self._connect()
        host.path("/run/sshd").mkdir(mode=0o755)
        serve: list[str | Path] = [*host.enter, SSHD, "-D", "-e", "-f", sshd.directory / "sshd_config"]
        self._ended.enter_context(Process(serve, self.directory / f"sshd-{name}-again.log"))

    def begin(self, *words: str) -> Process:
        """Begin a command of Ansible's at the controller; its result is in its log, and in JSON with `-vv`."""
        number = len([*self.directory.glob("ansible-*.log")])
        command = [*self.enter, "env", *(f"{name}={value}" for name, value in self._env.items()), *words]
        return self._ended.enter_context(Process(command, self.directory / f"ansible-{number}.log"))

    def play(self, tasks: list[dict[str, Any]], *words: str, hosts: str = "hv1") -> Process:
        """Begin a play with these tasks."""
        path = self.directory / f"play-{len([*self.directory.glob('play-*.json')])}.json"
        path.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": tasks}]))
        return self.begin("ansible-playbook", f"{path}", *words)

    def task(self, module: str, *words: str, hosts: str = "hv1", **parameters: Any) -> dict[str, Any]:
        """Run one task to its end; its result."""
        (result,) = self.tasks({f"nbdtun.migration.{module}": parameters}, words=words, hosts=hosts)
        return result

    def tasks(self, *tasks: dict[str, Any], words: Sequence[str] = (), hosts: str = "hv1") -> list[dict[str, Any]]:
        """Run tasks one after the other, to their ends; their results, of those that fail, too."""
        facts = self.directory / f"results-{len([*self.directory.glob('results-*.json')])}.json"
        names = [f"result_{number}" for number in range(len(tasks))]
        every = [{**task, "register": name, "ignore_errors": True} for task, name in zip(tasks, names, strict=True)]
        told: dict[str, Any] = {
            "ansible.builtin.copy": {"content": f"{{{{ [{', '.join(names)}] | to_json }}}}", "dest": f"{facts}", "mode": "0644"},
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"},
            "check_mode": False,
            "diff": False,
        }
        run = self.play([*every, told], *words, hosts=hosts)
        if status := run.wait_exit(300):
            raise RuntimeError(f"status {status}: {run.log()[-4000:]}")
        results: list[dict[str, Any]] = json.loads(facts.read_text())
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()


class Rack(Controller[hosts.Host]):
    """Hosts of bare QEMUs, with a cable between them, and the controller at the second one."""

    addresses = hosts.Cable.addresses

    @property
    def enter(self) -> Sequence[str]:
        """What stands before a command that is to run where the controller is."""
        return self.hosts[1].enter

    def _boot(self, name: str) -> hosts.Host:
        (self.directory / name / f"{name}.log").unlink(missing_ok=True)  # it says when a host is up
        return self._ended.enter_context(hosts.Host(self.directory / name, name))

    def _connect(self) -> None:
        self.cable = hosts.Cable(*self.hosts)

    def start(self, vm: str, command: Sequence[str], number: int = 0) -> Process:
        """Start a QEMU at a host."""
        return self._ended.enter_context(Process([*self.hosts[number].enter, *command], self.directory / f"{vm}.log"))


class LibvirtRack(Controller[libvirt.Host]):
    """Hosts of libvirt, and the controller, which share this machine's network."""

    addresses = ("127.0.0.1", "127.0.0.1")

    def _boot(self, name: str) -> libvirt.Host:
        return self._ended.enter_context(libvirt.Host(self.directory, name))
