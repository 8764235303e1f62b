"""
The control channel: what the two ends of a migration say to each other.

    commands  the commands, with bounded arguments
    channel   one end of it, which trusts no peer
"""
