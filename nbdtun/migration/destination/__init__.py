"""
The destination's side of a migration.

    life      the states of a session
    recovery  cleans up after a killed daemon
    orphans   QEMUs that a killed daemon has left in the middle of their memory
    outcome   whether a VM has run here
    session   one VM that arrives
    sessions  all of them, and the VMs that may arrive
"""
