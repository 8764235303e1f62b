"""
The control channel: what the two ends of a migration say to each other.

    rows      lists on the wire: disks and findings
    commands  the commands, with bounded arguments
    channel   one end of it, which trusts no peer
"""
