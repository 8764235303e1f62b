"""
The far end's side: it looks at a plan, makes it, and removes what it made.

    host      what this host has: network interfaces, listening sockets, free space, users
    emulator  the QEMU program, and what it says that it can do
    images    images: what is there, and how they are made
    files     the other paths of a plan
    look      all that is found of a plan
    start     QEMU as a process of its own, or as a unit of systemd's
    record    what was made, in a file that outlives the far end
    earlier   what a killed far end has left, and whether it can be removed
    maker     makes all of a plan, or nothing

Whoever sends a plan decides what this user runs. So no daemon has a way to here: only a far end that its own user has started.
"""
