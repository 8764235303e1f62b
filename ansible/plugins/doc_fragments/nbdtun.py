# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The documentation that the modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments for C(extends_documentation_fragment)."""

    DOCUMENTATION = r"""
options:
  executable:
    description:
      - The nbdtun command on the managed host, by its name or path.
      - A name is looked for in E(PATH), C(/usr/local/bin) and C(/opt/nbdtun/bin).
    type: str
    default: nbdtun
  qmp:
    description:
      - The QMP sockets of the VMs of the managed host, with C({vm}) in the place of a VM's name.
      - If neither this nor O(libvirt) is given, it is C(/run/qemu/{vm}.qmp).
    type: path
  libvirt:
    description:
      - The URI of the managed host's libvirt, such as C(qemu:///system). The VMs are those of libvirt.
    type: str
  run_dir:
    description:
      - The C(--run-dir) of nbdtun, if the host has another than the usual one.
    type: path
requirements:
  - nbdtun 0.1 or later on the managed host
  - setsid, of util-linux, on the managed host
attributes:
  platform:
    description: Linux is needed.
    support: full
    platforms: linux
"""

    WAY = r"""
options:
  tls_dir:
    description:
      - The directory with the managed host's certificates. It is needed for every O(to) that is not C(ssh://HOST).
    type: path
  tls_layout:
    description:
      - Whose names the files in O(tls_dir) have.
    type: str
    choices: [qemu, libvirt]
  tls_name:
    description:
      - The name that the destination's certificate must have, if it is not the destination's host.
    type: str
  tls_password_file:
    description:
      - A file on the managed host with the passphrase of its key.
    type: path
  insecure:
    description:
      - Go without TLS. For tests only.
    type: bool
    default: false
  map:
    description:
      - Where paths differ at the destination. A path of the VM that begins with a key begins with its value there.
    type: dict
    default: {}
  answers:
    description:
      - A file on the managed host with answers for the VM that is made at the destination, see C(nbdtun plan).
      - Secrets belong there, and not into O(options), which other users of the managed host can see in its list of processes.
    type: path
  options:
    description:
      - Further options of C(nbdtun migrate), by their names without C(--).
      - A value is a text, a number, V(true) for a flag, or a list for an option that can be repeated.
      - Options for which the module has a parameter cannot be given here, nor can C(hold) and others that need somebody who watches.
    type: dict
    default: {}
"""

    MOVE = r"""
options:
  bandwidth:
    description:
      - The limit of the speed, such as V(500MiB) or V(1Gbit/s).
    type: str
  downtime:
    description:
      - The pause of the guest that QEMU aims for, such as V(300ms).
    type: str
  converge:
    description:
      - How to finish if a guest changes data faster than it can be copied.
    type: list
    elements: str
    choices: [write-blocking, auto-converge, downtime]
    default: []
  timeout:
    description:
      - Time limits, of the whole such as V(2h), or of a phase such as V(mirror=2h).
    type: list
    elements: str
    default: []
  settle:
    description:
      - How long the guest is watched at the destination before its QEMU at the source is ended, such as V(10s).
    type: str
  unit:
    description:
      - Start a QEMU that is made at the destination as a unit of systemd.
    type: bool
    default: false
  overwrite:
    description:
      - Give up what images at the destination hold.
    type: bool
    default: false
  keep_source:
    description:
      - Leave the QEMU at the source paused instead of ending it.
    type: bool
    default: false
"""
