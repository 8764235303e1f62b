"""
The pre-flight check: whether a VM can be migrated, before anything is done for it. It changes nothing.

From the ground up; a migration uses the same functions before its first step, so that the two cannot disagree:

    checklist    the list that a check fills
    emulation    QEMUs that may lose memory writes
    iothreads    disks with threads of their own, and QEMUs that cannot receive them
    blockers     what makes QEMU refuse to migrate
    activity     how fast the guest dirties its memory and writes to its disks
    users        other users of a disk: jobs, exports and dumps
    left_behind  snapshots and bitmaps that would stay behind
    bitmaps      the bitmaps that the destination can take
    obstacles    all that prevents a machine from leaving or arriving
    departure    the source's QEMU
    arrival      the destination's QEMU
    command      the command for a check at the destination
    consult      asks the destination for its findings
    forecast     time and downtime
    report       the report of a check, as one value
    preflight    a whole check, from its first query to its report
"""
