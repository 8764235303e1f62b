"""
QEMU's own nouns, one each.

    requirements  the commands that a QEMU must support
    machine       type, RAM and run state; its announcement to its network
    hardware      the whole machine as its guest sees it, read and compared
    images        whether two disks have the same image
    disks         the disks of a machine, and which of them are copied
    pairing       which disk of the destination takes which of the source
    graph         the block graph: other users of a disk
    belongings    the parts of an image besides its content: snapshots, bitmaps
    capabilities  migration capabilities that another client has switched on
    sectors       the sectors in which a disk's image is written
    bitmaps       the bitmaps that travel with the memory
    outline       the parts of a machine that must not change during a migration
    exports       the destination's NBD server, with one export a disk
    guest         the guest at the source: running, paused, resumed
    fate          the guest's first moments at the destination
    memory        its memory, sent and received, over one connection or several
    mirror        a disk's copy, kept in sync

Three verbs: *discard* removes one job and its node, *sweep* removes all that has our prefix; *clean up* sweeps, restores QEMU's settings,
and erases the journal.
"""
