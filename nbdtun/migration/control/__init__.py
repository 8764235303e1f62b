"""
The control channel between the two ends of a migration.

    rows      lists on the wire: disks and findings
    commands  the commands, with bounded arguments
    channel   one end of it, which does not trust its peer
"""
