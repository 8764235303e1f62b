# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""
The parameters that the modules share, and how they become words of nbdtun's command line.

A value is always in one word with its option, C(--to=VALUE). So no value is ever taken for an option.
"""

from __future__ import annotations

import re

from ansible_collections.nbdtun.migration.plugins.module_utils.command import Failure

#: Where VMs have their QMP sockets, unless somebody says otherwise.
QMP = "/run/qemu/{vm}.qmp"

#: Whose VMs, and by which nbdtun.
HOST = dict(
    executable=dict(type="str", default="nbdtun"),
    qmp=dict(type="path"),
    libvirt=dict(type="str"),
    run_dir=dict(type="path"),
)

#: How the other host is reached, and how a VM goes there.
WAY = dict(
    tls_dir=dict(type="path"),
    tls_layout=dict(type="str", choices=["qemu", "libvirt"]),
    tls_name=dict(type="str"),
    tls_password_file=dict(type="path", no_log=False),
    insecure=dict(type="bool", default=False),
    map=dict(type="dict", default={}),
    answers=dict(type="path"),
    options=dict(type="dict", default={}),
)

#: How a VM is moved.
MOVE = dict(
    bandwidth=dict(type="str"),
    downtime=dict(type="str"),
    converge=dict(type="list", elements="str", choices=["write-blocking", "auto-converge", "downtime"], default=[]),
    timeout=dict(type="list", elements="str", default=[]),
    settle=dict(type="str"),
    unit=dict(type="bool", default=False),
    overwrite=dict(type="bool", default=False),
    keep_source=dict(type="bool", default=False),
)

EXCLUSIVE = [["qmp", "libvirt"]]

#: Those of WAY and MOVE whose words are their names.
_PLAIN = ("tls_dir", "tls_layout", "tls_name", "tls_password_file", "answers", "run_dir", "downtime", "settle")
_FLAGS = ("insecure", "unit", "overwrite")

#: What the modules say themselves, or what has no meaning without somebody who watches.
_OWN = frozenset(
    """
    at-end bandwidth code copying dest-xml dry-run far-qmp help hold hook hook-time journal json keep-apart keep-source keep-together
    libvirt metrics no-measure only order pin plan priority progress qmp recover report resolve restore resume retries retry-pause
    switchover to toml verbose version window without
    """.split()  # noqa: SIM905
)
_NAME = re.compile(r"[a-z]+(-[a-z]+)*")


def word(name, value):
    """An option with its value, in one word."""
    return "--{}={}".format(name.replace("_", "-"), value)


def whose(params):
    """The words that say whose VMs: those of libvirt, or those with QMP sockets of one form."""
    if params["libvirt"]:
        return [word("libvirt", params["libvirt"])]
    return [word("qmp", params["qmp"] or QMP)]


def whose_vm(params, vm):
    """The same for one VM, whose socket has its whole path."""
    if params["libvirt"]:
        return whose(params)
    return [word("qmp", (params["qmp"] or QMP).replace("{vm}", vm))]


def pace(params):
    """The words for all commands that are about a migration: its speed."""
    return [word("bandwidth", params["bandwidth"])] if params["bandwidth"] else []


def end(params):
    """The words for the commands that migrate: what becomes of the source."""
    return ["--keep-source"] if params["keep_source"] else []


def way(params):
    """The words for all commands that reach the other host: how that is done, and how a VM goes there."""
    words = [word(name, params[name]) for name in _PLAIN if params.get(name)]
    words += ["--{}".format(name.replace("_", "-")) for name in _FLAGS if params.get(name)]
    words += [word("map", f"{here}={there}") for here, there in sorted(params["map"].items())]
    words += [word("disk", disk) for disk in params.get("disks") or ()]
    words += [word("timeout", limit) for limit in params.get("timeout") or ()]
    if params.get("converge"):
        words.append(word("converge", ",".join(params["converge"])))
    return words + more(params["options"])


def more(options):
    """The words of further options: a text or a number, true for a flag, or a list for one that can be repeated."""
    words = []
    for name in sorted(options):
        spelled = str(name).replace("_", "-")
        if not _NAME.fullmatch(spelled) or spelled in _OWN:
            raise Failure(f"options: {name} is no option that can be given here", "config", "see the parameters of the module")
        value = options[name]
        if value is False or value is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            words.append("--" + spelled if each is True else word(spelled, each))
    return words
