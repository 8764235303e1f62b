# Copyright (c) 2026 The nbdtun authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""
What the end of C(nbdtun migrate) means for a task: by its exit status, and the last object that it has printed. No I/O.

C(unknown) is never told as a failure that may be tried again at will: the result says so, and the module's own next run settles it first.
"""

from __future__ import annotations

MOVED, STAYED, UNKNOWN, LOST, USAGE, CANCELLED = "moved", "stayed", "unknown", "lost", "usage", "cancelled"

_BY_STATUS = {0: MOVED, 1: STAYED, 2: USAGE, 3: UNKNOWN, 4: LOST, 130: CANCELLED}

_ADVICE = {
    UNKNOWN: "do not start it by hand; when the destination can be reached again, run this task again: it asks the destination first",
    LOST: "it is paused at the source, as it was handed over; look at its guest there, then let it go on here, or at the destination",
}

#: Codes of an attempt to settle that is an answer: it did not arrive and runs here again, or there was nothing to settle.
_SETTLED = ("migration", "not-migratable")


def outcome_of(done):
    """The outcome of a migration that has ended; one that was killed has none that is known."""
    return _BY_STATUS.get(done.rc, UNKNOWN)


def settled_here(done):
    """Whether an attempt to settle says that the VM is here."""
    return done.rc == 1 and last_of(done).get("code", done.complaint()[1]) in _SETTLED


def last_of(done):
    """The last object that it has printed; empty if there is none."""
    found = done.objects()
    return found[-1] if found else {}


def result_of(done, vm, to):
    """The values of the task's result, C(failed) among them."""
    outcome, last = outcome_of(done), last_of(done)
    result = dict(changed=outcome in (MOVED, UNKNOWN, LOST), failed=outcome != MOVED, outcome=outcome, rc=done.rc)
    result["downtime_ms"] = last.get("downtime_ms")
    if outcome == MOVED:
        return dict(result, msg=f"{vm} runs at {to}", code=None, remedy=None)
    text, code = done.complaint()
    if last.get("error") and outcome != CANCELLED:
        text, code = last["error"], last.get("code") or code
    if outcome == CANCELLED:
        text, code = f"the migration of {vm} was cancelled, and rolled back: {vm} runs on here", "cancelled"
    advice = _ADVICE.get(outcome) or last.get("remedy")
    if outcome in _ADVICE:
        text = f"{vm}: {text}; {advice}"
    return dict(result, msg=text, code=code or ("killed" if outcome == UNKNOWN else "failed"), remedy=advice)
