#!/usr/bin/python
# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Make sure that a VM runs at another host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migrate
short_description: Make sure that a VM runs at another host
description:
  - Moves a running QEMU VM, with its disks, from the managed host to another one, by C(nbdtun migrate).
  - It first asks where the VM is. If it runs at the destination already, nothing is changed.
  - A migration that is under way to the same destination is waited for. So a task that was interrupted can be run again.
  - An earlier migration whose outcome is unknown is settled first, by asking the destination. Nothing is tried blindly.
version_added: 0.1.0
author:
  - The nbdtun authors (!UNKNOWN)
extends_documentation_fragment:
  - nbdtun.migration.nbdtun
  - nbdtun.migration.nbdtun.way
  - nbdtun.migration.nbdtun.move
options:
  vm:
    description:
      - The name of the VM.
    type: str
    required: true
    aliases: [name]
  to:
    description:
      - The destination, V(ssh://HOST), V(HOST) or V(HOST:PORT).
      - It is reached from the managed host, as its user. So with V(ssh://HOST), that user needs a key or an agent.
    type: str
    required: true
  far_qmp:
    description:
      - With V(ssh://HOST), the QMP socket of the QEMU that waits there. Without it, the usual place is looked at, or a QEMU is made.
    type: path
  disks:
    description:
      - The disks to move, and where they go, as C(NODE[=PATH[,format=FORMAT]]).
      - Without any, all disks that can be written are moved.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: The migration is checked, and nothing is changed. It fails where a migration would be refused.
    support: full
  diff_mode:
    description: It shows where the VM is, and with V(ssh://HOST) the plan of what is made there. Secrets are hidden.
    support: full
notes:
  - The task takes as long as the migration. For a large VM use C(async), and C(ServerAliveInterval) in the configuration of ssh.
  - A connection that breaks, or the limit of C(async), ends the task, and not the migration.
seealso:
  - module: nbdtun.migration.evacuate
  - module: nbdtun.migration.vm_info
"""

EXAMPLES = r"""
- name: web1 runs at hv2
  nbdtun.migration.migrate:
    vm: web1
    to: ssh://hv2

- name: One of libvirt's VMs, to a daemon
  nbdtun.migration.migrate:
    vm: db1
    libvirt: qemu:///system
    to: hv2.example.org
    tls_dir: /etc/pki/qemu
    bandwidth: 500MiB

- name: A VM whose disks are elsewhere there, and that writes much
  nbdtun.migration.migrate:
    vm: web2
    to: ssh://hv2
    map:
      /srv/vm: /data/vm
    converge: [write-blocking, auto-converge]
    options:
      connections: 4
"""

RETURN = r"""
outcome:
  description:
    - What became of the VM. Only V(there) and V(moved) are successes, and V(would_move) in check mode.
    - V(there) says that it ran at the destination before; V(moved), that it was moved.
    - V(stayed) and V(cancelled) say that it runs at the managed host as before, V(absent) that it is at neither host.
    - V(unknown) says that it may run at the destination. It is paused at the managed host. The next run of the task asks first.
    - V(lost) says that its guest was lost right after its arrival. It is paused at the managed host.
    - V(usage) says that a parameter cannot be used.
  type: str
  returned: always, unless nbdtun cannot be run
  sample: moved
code:
  description: The code of the error, which does not change between releases. It is null after a success.
  type: str
  returned: always
  sample: not-migratable
remedy:
  description: What to do about the error, as far as it is known. It is a part of RV(ignore:msg).
  type: str
  returned: always
  sample: wait for it
vm:
  description: The name of the VM.
  type: str
  returned: always
  sample: web1
to:
  description: The destination.
  type: str
  returned: always
  sample: ssh://hv2
downtime_ms:
  description: How long the guest stood still, in milliseconds, where this run has moved it.
  type: float
  returned: when the VM was moved
  sample: 71.4
adopted:
  description: Whether a migration was waited for that was under way already.
  type: bool
  returned: always
settled:
  description: Whether the unknown outcome of an earlier migration was found out.
  type: bool
  returned: always
findings:
  description: What the check has found, in check mode. See C(nbdtun check --json).
  type: list
  elements: dict
  returned: in check mode, when the VM would be moved
rc:
  description: The exit status of nbdtun, where it counted. A negative one is the number of the signal that ended it.
  type: int
  returned: when nbdtun was run to move the VM
"""

import platform
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nbdtun.migration.plugins.module_utils import options, outcome, whereabouts
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Failure, carry_out

#: Seconds between two looks at a migration that another process does.
LOOK = 2


class Migrate:
    """One VM that is to run at one host."""

    def __init__(self, module, nbdtun):
        self._module = module
        self._nbdtun = nbdtun
        params = module.params
        self._vm, self._to = params["vm"], params["to"]
        self._here = options.whose_vm(params, self._vm)
        self._way = options.way(params)
        self._known = dict(vm=self._vm, to=self._to, adopted=False, settled=False, code=None, remedy=None)

    def run(self):
        """Make it so; returns the result."""
        while True:
            row = self._look()
            step = whereabouts.next_step(row, bool(self._module.params["libvirt"]) and not self._known["settled"])
            if step == whereabouts.FAIL:
                raise Failure(row["error"], row["code"], row["remedy"] or "", outcome="stayed")
            if step == whereabouts.ASK:
                return self._ask()
            if step == whereabouts.SETTLE and self._module.params["keep_source"] and self._is_there():
                return self._there()
            if self._module.check_mode:
                return self._check(row, step)
            if step == whereabouts.MIGRATE:
                return self._migrate()
            ended = self._wait(row) if step == whereabouts.WAIT else self._settle()
            if ended is not None:
                return ended

    @property
    def known(self):
        """What every result has."""
        return dict(self._known)

    def _look(self, *more):
        found = self._nbdtun.objects("vms", "--json", *(self._here + self._way + list(more) + ["--", self._vm]))
        if not found:
            raise Failure(f"nbdtun vms has said nothing of {self._vm}", "failed")
        return found[0]

    def _words(self, command, *more):
        """The words of a command for this VM."""
        far = self._module.params["far_qmp"]
        there = [options.word("to", self._to)] + ([options.word("far-qmp", far)] if far else [])
        params = self._module.params
        paced = self._way + options.pace(params) + (options.end(params) if command == "migrate" else [])
        return [command, *more, *self._here, *there, *paced, "--", self._vm]

    def _ask(self):
        """It is not here: is it there?"""
        row = self._look(options.word("to", self._to))
        there = whereabouts.is_there(row, self._to)
        if there:
            return self._there()
        if there is None:
            asked = row["at"][self._to]
            text = f"{self._vm} is not here, and {self._to} cannot be asked for it: {asked['error']}"
            raise Failure(text, asked["code"], asked["remedy"] or "", outcome="absent")
        remedy = "start it at one of them, or name the host where it is"
        raise Failure(f"{self._vm} runs neither here nor at {self._to}; {remedy}", "vm-unknown", remedy, outcome="absent")

    def _is_there(self):
        """Whether a QEMU that was left here, as is wished, has its guest there."""
        return whereabouts.is_there(self._look(options.word("to", self._to)), self._to)

    def _there(self):
        moved = self._known["adopted"]
        return dict(changed=moved, outcome="moved" if moved else "there", msg=f"{self._vm} runs at {self._to}")

    def _wait(self, row):
        """Another process moves it: wait for its end, and look again."""
        going = row["migration"]["to"]
        if going and going != self._to:
            text = f"{self._vm} is being migrated to {going}, and not to {self._to}; wait for its end"
            raise Failure(text, "not-migratable", "wait for its end", outcome="stayed")
        self._known["adopted"] = True
        while self._look()["migration"]:
            time.sleep(LOOK)

    def _settle(self):
        """Find out what became of an earlier migration; returns the result if it has arrived, or if that is still unknown."""
        self._known["settled"] = True
        done = self._nbdtun.run(*self._words("migrate", "--resolve", "--progress=final"))
        return None if outcome.settled_here(done) else self._result(done)

    def _migrate(self):
        plan = self._plan() if self._module._diff else ""
        done = self._nbdtun.run(*self._words("migrate", "--progress=final"))
        if done.killed:  # it was killed: what it has left is ended, one way or the other
            self._known["settled"] = True
            done = self._nbdtun.run(*self._words("migrate", "--recover", "--progress=final"))
        return self._result(done, plan)

    def _result(self, done, plan=""):
        result = outcome.result_of(done, self._vm, self._to)
        if not result["failed"]:
            result["diff"] = self._diff(plan)
        return result

    def _check(self, row, step):
        """The dry run."""
        result = dict(changed=True, outcome="would_move", findings=[])
        if step != whereabouts.MIGRATE:
            words = {
                whereabouts.WAIT: "is being migrated, and is waited for",
                whereabouts.SETTLE: "was being migrated: that is settled first",
            }
            return dict(result, msg=f"{self._vm} {words[step]}", diff=self._diff(""))
        told = self._nbdtun.objects(*self._words("check", "--json", "--no-measure"))[-1]
        result["findings"] = told["findings"]
        bad = [finding for finding in told["findings"] if finding["level"] == "failure"]
        if bad:
            text = "; ".join(part for each in bad for part in (each["what"], each["remedy"]) if part)
            others = dict(findings=told["findings"], outcome="stayed")
            raise Failure(f"{self._vm} cannot be migrated: {text}", bad[0]["code"] or "failed", bad[0]["remedy"] or "", **others)
        for each in told["findings"]:
            if each["level"] == "warning":
                self._module.warn(f"{self._vm}: {each['what']}")
        return dict(result, msg=f"{self._vm} can be migrated to {self._to}", diff=self._diff(self._plan()))

    def _plan(self):
        """What would be made at the destination, where something is: nbdtun hides the secrets in it."""
        if not self._to.startswith("ssh://") or self._module.params["libvirt"] or self._module.params["far_qmp"]:
            return ""
        kept = [word for word in self._way if word.startswith(("--map=", "--answers=", "--disk=", "--unit", "--overwrite"))]
        return self._nbdtun.run("plan", *([*self._here, options.word("to", self._to), *kept, "--", self._vm])).out

    def _diff(self, plan):
        here = f"{self._vm}: runs at {platform.node()}\n"
        there = f"{self._vm}: runs at {self._to}\n"
        return dict(before_header=self._vm, after_header=self._vm, before=here, after=there + plan)


def main():
    spec = dict(
        options.HOST,
        vm=dict(type="str", required=True, aliases=["name"]),
        to=dict(type="str", required=True),
        far_qmp=dict(type="path"),
        disks=dict(type="list", elements="str", default=[]),
        **dict(options.WAY, **options.MOVE),
    )
    module = AnsibleModule(argument_spec=spec, mutually_exclusive=options.EXCLUSIVE, supports_check_mode=True)
    carry_out(module, Migrate, vm=module.params["vm"], to=module.params["to"], changed=False, adopted=False, settled=False)


if __name__ == "__main__":
    main()
