"""
The tunnel, built from settings, and given to the migration.

    build     the two ends of a tunnel
    endpoint  a channel as a transport, for Twisted applications and for the control channel
    carrier   the migration's port: a way to the destination, and the way out of it
"""
