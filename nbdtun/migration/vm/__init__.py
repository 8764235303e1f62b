"""
QEMU's own nouns, one each.

    requirements  what a QEMU must understand
    machine       type, RAM and run state
    disks         the disks of a machine, and which of them are copied
    exports       the destination's NBD server, with one export a disk
    guest         the guest at the source: it runs, is paused, goes on
    memory        its memory, sent and received
    mirror        a disk's copy, kept in sync

Three verbs: *discard* removes one job and its node, *sweep* all that is ours by its prefix; *clean up* sweeps, restores what was set, and
erases the journal.
"""
