"""
The destination end: it accepts channels, and keeps track of them.

    fair_table  a table with a limit, which drops the entries of its largest owner first
    allowlist   the certificate names that may connect
    admission   connections that are not links yet, within limits
    targets     the names that a source may ask for, and where each leads
    sink        the target that discards all data
    tombstones  channels that have ended, for sources that ask again
    elsewhere   another process of this host, which has channels of the same port
    entries     channels, as they were asked for
    opening     answers the one command of a new connection
    server      accepts connections, and keeps the channels
"""
