"""
The tunnel, built from settings, and given to the migration.

    build    the two ends of a tunnel
    carrier  its port: a way to the destination, and the way out of it
"""
