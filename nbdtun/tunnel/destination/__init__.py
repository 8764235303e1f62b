"""
The destination end: it accepts channels, and knows what it has accepted.

    fair_table  a table that displaces its largest owner's entries
    allowlist   the names that may connect
    admission   connections that are no links yet, within limits
    targets     the names that a source may ask for, and where each leads
    sink        the target that only counts
    tombstones  channels that have ended, for sources that ask again
    server      accepts connections, and keeps the channels
"""
