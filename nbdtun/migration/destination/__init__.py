"""
The destination's side of a migration.

    life      the states of a session
    recovery  cleans up after a killed daemon
    incarnation  whether a QEMU is still the same one
    orphans   QEMUs that a killed daemon has left in the middle of their memory
    outcome   whether a VM has run here
    reception what QEMU is set to before its memory comes
    arrival   the end of the copying, while the guest stands still
    session   one VM that arrives
    register  all of them: those under way, and those that have ended
    sessions  begins them, for the VMs that may arrive
    control   the source's commands, and its rights
    draining  their orderly end, before the daemon's
"""
