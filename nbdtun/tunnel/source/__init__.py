"""
The source end: it opens channels.

    dialer      gets a channel its links, one after the other
    local_users the programs of this host that have channels, within limits
    client      opens channels, for the programs that connect to a local socket
    throughput  measures a tunnel's throughput
"""
