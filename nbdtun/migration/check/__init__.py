"""
The pre-flight: what can be known of a migration before anything is done for it. It changes nothing.

From the ground up; a migration uses the same functions before its first step, so that the two cannot disagree:

    checklist    the list that a check fills
    emulation    QEMUs that lose memory
    activity     how much the guest writes
    users        jobs, exports and dumps: who else works on a disk
    left_behind  snapshots and bitmaps that would not travel
    obstacles    what keeps a machine from leaving or arriving, at either end
    departure    the source's QEMU
    arrival      the destination's QEMU
    command      the command with which a source has its counterpart checked
    forecast     time and downtime
    report       the whole of a check, as one value
    preflight    a check, from its first question to its report
"""
