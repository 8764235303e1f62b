"""
A daemon's program is replaced without a loss: the new process takes the port and all that is new, the old one keeps what it has.

From the ground up; a module imports only what stands above it here:

    commands    what the two processes ask each other
    doorkeeper  tells which of them a control channel is for
    earlier     the process before this one, as this one sees it
    generation  one process among those of a daemon; and what a source's has
    ports       where a destination listens
    household   what a destination's process has, and what the one before it has
    later       the process after this one, as this one sees it
    lines       from one to the next but one, where that between them is killed
    place       what a succession knows of its process
    succession  this process among them: how it takes over, and how it is replaced

Both are of one host, one user and one unit. They speak over a pair of sockets that one of them was started with.
"""
