"""
Each step of a migration can be undone, even by a later process.

    undo      the stack of undo steps
    presence  whether the process that works on a session lives
    journal   a record of a migration's steps, kept in QEMU itself
"""
