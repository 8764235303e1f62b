# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Where a VM is, by what C(nbdtun vms) says of it; and what that means for a task that wants it elsewhere. No I/O."""

from __future__ import annotations

#: Run states of a QEMU whose guest has left, or was about to: only its destination knows what became of it.
LEFT = frozenset(["finish-migrate", "postmigrate"])
#: Run states of a QEMU that has no guest.
EMPTY = frozenset(["inmigrate", "shutdown"])

#: What is to be done next.
WAIT, SETTLE, ASK, MIGRATE, FAIL = "wait", "settle", "ask", "migrate", "fail"


def next_step(row, libvirt):
    """What is to be done about a VM that is here so."""
    if row["migration"]:
        return WAIT
    if row["error"]:
        return FAIL
    if row["state"] in LEFT or (libvirt and row["state"] == "paused"):
        return SETTLE
    if row["state"] is None or row["state"] in EMPTY:
        return ASK
    return MIGRATE


def is_there(row, to):
    """Whether the VM has its guest at the destination; None if that could not be asked."""
    there = row["at"][to]
    return None if there["error"] else there["state"] is not None
