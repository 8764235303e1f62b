# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""What an evacuation has come to: its report, the report of several runs together, and the task's result. No I/O."""

from __future__ import annotations

#: States after which nothing more is done with a VM.
OVER = frozenset(["moved", "stayed", "lost"])


def unfinished(overview):
    """The VMs of a journal that its evacuation has not come to an end with."""
    return [vm["vm"] for vm in overview["vms"] if vm["state"] not in OVER]


def in_state(vms, *states):
    """The names of the VMs in one of these states."""
    return [vm["vm"] for vm in vms if vm["state"] in states]


def joined(before, vms):
    """The VMs of several runs: what a later run says of a VM counts."""
    rows = {vm["vm"]: vm for vm in before}
    for vm in vms:
        known = rows.get(vm["vm"])
        if known is None or known["state"] != "moved" or vm["state"] != "stayed":
            rows.pop(vm["vm"], None)
            rows[vm["vm"]] = vm
    return list(rows.values())


def result_of(done, vms):
    """The task's result for the VMs of one run, which has ended with this status."""
    moved, stayed = in_state(vms, "moved"), in_state(vms, "stayed")
    unknown, lost = [vm["vm"] for vm in vms if vm["state"] not in OVER], in_state(vms, "lost")
    result = dict(changed=bool(moved or unknown or lost), failed=bool(done.rc), rc=done.rc, vms=vms)
    result.update(moved=moved, stayed=stayed, unknown=unknown, lost=lost)
    if not done.rc:
        return dict(result, msg=f"{len(moved)} VMs were moved" if moved else "there is no VM to move", code=None)
    bad = [vm for vm in vms if vm["state"] != "moved"]
    told = ["{} {}: {}".format(vm["vm"], _WORDS.get(vm["state"], vm["state"]), vm.get("reason") or "no reason is known") for vm in bad]
    text, code = done.complaint()
    if unknown:
        told.append(AGAIN)
    worst = bad[0].get("code") if bad else None
    return dict(result, msg="; ".join(told) or text, code="unknown" if unknown else worst or code or "failed")


_WORDS = {"stayed": "stays here", "lost": "was lost at its destination", "unknown": "may be here or there"}

#: The advice where an outcome is unknown.
AGAIN = "start none of these by hand; run this task again: it asks their destinations first"


def diff_of(host, before, after):
    """A diff as Ansible shows it: where each VM is, before and after. Both map VMs to places."""
    names = sorted(set(before) | set(after))
    return dict(
        before_header=f"VMs of {host}",
        after_header=f"VMs of {host}",
        before="".join("{}: {}\n".format(vm, before.get(vm, "?")) for vm in names),
        after="".join("{}: {}\n".format(vm, after.get(vm, before.get(vm, "?"))) for vm in names),
    )
