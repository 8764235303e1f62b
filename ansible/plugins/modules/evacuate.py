#!/usr/bin/python
# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Make sure that a host has no VMs, or bring VMs home."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evacuate
short_description: Make sure that a host has no VMs, or bring VMs home
description:
  - Moves all QEMU VMs of the managed host to other hosts, with their disks, by C(nbdtun evacuate).
  - A host without VMs is left as it is.
  - An evacuation that is under way is waited for, and one that was interrupted is gone on with.
  - So a task that was interrupted can be run again.
  - With O(restore), the VMs that another host has sent away go back to it, as far as they are on the managed host.
version_added: 0.1.0
author:
  - The nbdtun authors (!UNKNOWN)
extends_documentation_fragment:
  - nbdtun.migration.nbdtun
  - nbdtun.migration.nbdtun.way
  - nbdtun.migration.nbdtun.move
options:
  to:
    description:
      - The destinations, each V(ssh://HOST), V(HOST) or V(HOST:PORT).
    type: list
    elements: str
    required: true
  only:
    description:
      - Patterns for the names of VMs to move, such as V(web*). Without any, all are moved.
    type: list
    elements: str
    default: []
  without:
    description:
      - Patterns for the names of VMs that stay.
    type: list
    elements: str
    default: []
  restore:
    description:
      - The RV(report) of the task that has emptied another host.
      - Only the VMs in it that were moved, and are on the managed host, are moved.
    type: dict
  report:
    description:
      - A file on the managed host that keeps the report until VMs have been brought home. Remove it then.
      - A later run adds to it. So the report is whole, although a play was interrupted and has begun anew.
    type: path
  copying:
    description:
      - How many VMs copy at a time. nbdtun's default is 2.
    type: int
  retries:
    description:
      - How often a VM is tried again. nbdtun's default is 3.
    type: int
  retry_pause:
    description:
      - The pause before the first retry, such as V(10s). Each later one is twice as long.
    type: str
  keep_together:
    description:
      - Groups of VMs that go to one destination.
    type: list
    elements: list
    default: []
  keep_apart:
    description:
      - Groups of VMs that go to different destinations.
    type: list
    elements: list
    default: []
  pin:
    description:
      - The destinations of certain VMs, by the names of the VMs.
    type: dict
    default: {}
  order:
    description:
      - The VMs that go first, in this order.
    type: list
    elements: str
    default: []
  priority:
    description:
      - The priorities of certain VMs, by the names of the VMs. The highest go first. A VM without one has V(0).
    type: dict
    default: {}
  window:
    description:
      - The hours in which guests may switch over, such as V(22:00-05:00).
    type: str
  at_end:
    description:
      - What the end of the window does with VMs that are not ready.
    type: str
    choices: [pause, roll-back]
  hook:
    description:
      - A directory on the managed host with executables for moments of each VM.
    type: path
  hook_time:
    description:
      - How long one of them may take, such as V(30s).
    type: str
  journal:
    description:
      - The file of the journal on the managed host. Without it, it is the usual one of the host.
    type: path
attributes:
  check_mode:
    description: The plan is made, and nothing is changed. It fails where a VM could not be moved.
    support: full
  diff_mode:
    description: It shows where each VM goes.
    support: full
notes:
  - The task takes as long as the evacuation. Use C(async), and C(ServerAliveInterval) in the configuration of ssh.
  - A connection that breaks, or the limit of C(async), ends the task, and not the evacuation.
seealso:
  - module: nbdtun.migration.migrate
  - module: nbdtun.migration.vm_info
"""

EXAMPLES = r"""
- name: hv1 has no VMs
  nbdtun.migration.evacuate:
    to: [ssh://hv2, ssh://hv3]
    bandwidth: 5Gbit/s
    keep_apart:
      - [db1, db2]
    report: /var/lib/nbdtun/evacuated.json
  register: evacuated

- name: The VMs of hv1 come home
  nbdtun.migration.evacuate:
    to: [ssh://hv1]
    restore: "{{ evacuated.report }}"
  delegate_to: "{{ item }}"
  loop: [hv2, hv3]
"""

RETURN = r"""
vms:
  description: The VMs of this run, as C(nbdtun evacuate --report) has them. In check mode, as C(nbdtun evacuate --dry-run --json) has them.
  type: list
  elements: dict
  returned: always, unless nbdtun cannot be run
moved:
  description: The names of the VMs that were moved, or would be in check mode.
  type: list
  elements: str
  returned: always, unless nbdtun cannot be run
  sample: [web1, db1]
stayed:
  description: The names of the VMs that run on the managed host as before, or would stay in check mode.
  type: list
  elements: str
  returned: always, unless nbdtun cannot be run
unknown:
  description:
    - The names of the VMs that may run at their destinations, and are paused on the managed host.
    - The next run of the task asks the destinations first.
  type: list
  elements: str
  returned: always, unless nbdtun cannot be run
lost:
  description: The names of the VMs whose guests were lost right after their arrival. They are paused on the managed host.
  type: list
  elements: str
  returned: always, unless nbdtun cannot be run
report:
  description: What O(restore) takes. With the parameter O(report), it is of all runs since that file was made.
  type: dict
  returned: always, unless nbdtun cannot be run
adopted:
  description: Whether an evacuation was waited for that was under way already.
  type: bool
  returned: always
resumed:
  description: Whether an evacuation was gone on with that had been interrupted.
  type: bool
  returned: always
code:
  description: The code of the first error, or V(unknown) if the outcome of a VM is unknown. It is null after a success.
  type: str
  returned: always
  sample: not-migratable
remedy:
  description: What to do about the error, as far as it is known.
  type: str
  returned: failure
rc:
  description: The exit status of nbdtun, where it counted.
  type: int
  returned: when nbdtun was run to move VMs
"""

import json
import os
import platform
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nbdtun.migration.plugins.module_utils import drain, options, terms
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Done, carry_out
from ansible_collections.nbdtun.migration.plugins.module_utils.report import Report

#: Seconds between two looks at an evacuation that another process does.
LOOK = 2


class Evacuate:
    """One host that is to have no VMs."""

    def __init__(self, module, nbdtun):
        self._module = module
        self._nbdtun = nbdtun
        self._params = module.params
        self._terms = terms.words(module.params)
        self._report = Report(module.params["report"], self._file, module.atomic_move)
        journal = module.params["journal"]
        run_dir = module.params["run_dir"]
        self._journal = [options.word("journal", journal)] if journal else []
        self._files = self._journal + ([options.word("run-dir", run_dir)] if run_dir else [])
        self.known = dict(adopted=False, resumed=False)

    def run(self):
        """Make it so; returns the result."""
        self._report.read()
        left = self._look()
        if self._module.check_mode:
            return self._check(left)
        if left["running"]:
            self.known["adopted"] = True
            left = self._wait()
        vms, status = [], None
        if drain.unfinished(left):
            self.known["resumed"] = True
            status, vms = self._move("evacuate", "--resume", *self._files)
        elif self.known["adopted"] or self._report.begun:
            vms = left["vms"]
        if status is None or status.rc in (0, 1):
            status, more = self._begin(vms)
            vms = drain.joined(vms, more)
        return self._end(status, vms)

    def _begin(self, vms):
        """A new evacuation of what is here now."""
        words = list(self._terms) + self._journal
        if self._params["restore"] is not None:
            if not drain.in_state(self._params["restore"].get("vms", []), "moved"):
                return Done(0, "", ""), []
            words.append(options.word("restore", self._file(self._params["restore"])))
        self._report.keep(vms, begun=True)
        return self._move("evacuate", *words)

    def _move(self, *words):
        """Run it; its exit status and the VMs of its report. Its progress is shown to nobody."""
        report = self._file({})
        done = self._nbdtun.run(*words, "--progress=none", options.word("report", report))
        with open(report) as file:
            told = json.load(file)
        if "vms" not in told:  # it was refused, or killed
            raise done.failure(**self.known)
        return done, told["vms"]

    def _end(self, done, vms):
        """The result, and the report on the disk."""
        result = drain.result_of(done, vms)
        report = self._report.keep(vms, begun=bool(result["unknown"]))
        before = {vm["vm"]: platform.node() for vm in vms}
        result["diff"] = drain.diff_of(platform.node(), before, {vm["vm"]: vm["to"] for vm in vms if vm["state"] == "moved"})
        return dict(result, report=report, remedy=drain.AGAIN if result["unknown"] else None)

    def _check(self, left):
        """The dry run."""
        words = list(self._terms)
        wanted = self._params["restore"]
        if wanted is not None and drain.in_state(wanted.get("vms", []), "moved"):
            words.append(options.word("restore", self._file(wanted)))
        elif wanted is not None:
            return dict(self._none(), msg="there is no VM to move")
        plan = self._nbdtun.objects("evacuate", "--dry-run", "--json", *words)[-1]
        going = {vm["vm"]: vm["to"] for vm in plan["vms"] if not vm["refused"]}
        refused = [vm for vm in plan["vms"] if vm["refused"]]
        open_ones = drain.unfinished(left)
        result = self._none()
        result.update(vms=plan["vms"], moved=sorted(going), stayed=[vm["vm"] for vm in refused], changed=bool(going or open_ones))
        result["diff"] = drain.diff_of(platform.node(), {vm["vm"]: platform.node() for vm in plan["vms"]}, going)
        if refused:
            told = "; ".join(f"{vm['vm']} stays here: {vm['refused']}" for vm in refused)
            return dict(result, failed=True, msg=told, code=refused[0]["code"] or "failed", remedy="")
        words = f"{len(going)} VMs can be moved" if going else "there is no VM to move"
        again = f"; an earlier evacuation is gone on with first: {', '.join(open_ones)}" if open_ones else ""
        return dict(result, msg=words + again)

    def _none(self):
        return dict(changed=False, vms=[], moved=[], stayed=[], unknown=[], lost=[], report=dict(vms=self._report.vms), code=None)

    def _look(self):
        """What the journal has."""
        return self._nbdtun.objects("evacuate", "--resume", "--dry-run", "--json", *self._files)[-1]

    def _wait(self):
        """Another process does it: wait for its end."""
        while True:
            left = self._look()
            if not left["running"]:
                return left
            time.sleep(LOOK)

    def _file(self, told):
        """A file with this object, which ends with the module."""
        number, path = tempfile.mkstemp(dir=self._module.tmpdir, suffix=".json")
        with os.fdopen(number, "w") as file:
            json.dump(told, file)
        return path


def main():
    spec = dict(options.HOST, **dict(terms.OWN, **dict(options.WAY, **options.MOVE)))
    module = AnsibleModule(argument_spec=spec, mutually_exclusive=options.EXCLUSIVE, supports_check_mode=True)
    carry_out(module, Evacuate, changed=False, adopted=False, resumed=False)


if __name__ == "__main__":
    main()
