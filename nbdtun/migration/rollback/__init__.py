"""
Whatever was begun can be undone.

    undo      a stack of what to undo, in reverse
    presence  whether the process that began it lives
    journal   what was begun, written down in QEMU itself
"""
