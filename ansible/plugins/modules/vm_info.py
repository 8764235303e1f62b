#!/usr/bin/python
# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""List the VMs of a host, and say whether other hosts have them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_info
short_description: List the VMs of a host, and say whether other hosts have them
description:
  - Lists the QEMU VMs of the managed host, what each does, how large it is, and whether it is being migrated, by C(nbdtun vms).
  - It changes nothing.
version_added: 0.1.0
author:
  - The nbdtun authors (!UNKNOWN)
extends_documentation_fragment:
  - nbdtun.migration.nbdtun
  - nbdtun.migration.nbdtun.way
options:
  vms:
    description:
      - The names of the VMs. Each is told of, whether it is here or not. Without any, all VMs of the managed host are listed.
    type: list
    elements: str
    default: []
    aliases: [names]
  to:
    description:
      - Other hosts, each of which is asked for each VM, V(ssh://HOST), V(HOST) or V(HOST:PORT).
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: It changes nothing in any case.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
seealso:
  - module: nbdtun.migration.migrate
"""

EXAMPLES = r"""
- name: All VMs of this host
  nbdtun.migration.vm_info:
  register: here

- name: Those that run
  ansible.builtin.debug:
    msg: "{{ here.vms | selectattr('state', 'equalto', 'running') | map(attribute='vm') }}"

- name: Where is web1?
  nbdtun.migration.vm_info:
    vms: [web1]
    to: [ssh://hv2, ssh://hv3]
"""

RETURN = r"""
vms:
  description: The VMs.
  type: list
  elements: dict
  returned: success
  contains:
    vm:
      description: The name.
      type: str
      sample: web1
    place:
      description: The QMP socket, or the UUID of a VM of libvirt.
      type: str
      sample: /run/qemu/web1.qmp
    state:
      description:
        - The run state, as QEMU names it, such as V(running), V(paused), V(inmigrate) or V(postmigrate).
        - It is null if the VM is not here.
      type: str
      sample: running
    memory:
      description: Bytes of memory.
      type: int
      sample: 1073741824
    disks:
      description: Bytes of the disks, as their images take them now.
      type: int
      sample: 9663676416
    migration:
      description: The migration that is under way here, with C(pid), C(to) and C(progress). It is null if there is none.
      type: dict
    at:
      description:
        - For each destination, C(state) there, which is null without a guest.
        - Where it cannot be asked, C(error), C(code) and C(remedy) say why.
      type: dict
    error:
      description: Why the VM cannot be asked. It is null if it can.
      type: str
    code:
      description: The code of that error.
      type: str
    remedy:
      description: What to do about that error.
      type: str
code:
  description: The code of the error that the task has failed with.
  type: str
  returned: failure
  sample: not-installed
remedy:
  description: What to do about it, as far as it is known.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nbdtun.migration.plugins.module_utils import options
from ansible_collections.nbdtun.migration.plugins.module_utils.command import Failure, Nbdtun


def main():
    spec = dict(
        options.HOST,
        vms=dict(type="list", elements="str", default=[], aliases=["names"]),
        to=dict(type="list", elements="str", default=[]),
        **options.WAY,
    )
    module = AnsibleModule(argument_spec=spec, mutually_exclusive=options.EXCLUSIVE, supports_check_mode=True)
    params = module.params
    try:
        nbdtun = Nbdtun(module, params["executable"])
        found = []
        for name in params["vms"] or [None]:
            here = options.whose(params) if name is None else options.whose_vm(params, name)
            words = here + [options.word("to", to) for to in params["to"]] + options.way(params)
            found += nbdtun.objects("vms", "--json", *(words + ([] if name is None else ["--", name])))
    except Failure as failure:
        module.fail_json(**failure.result)
    module.exit_json(changed=False, vms=found)


if __name__ == "__main__":
    main()
