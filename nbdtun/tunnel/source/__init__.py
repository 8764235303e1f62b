"""
The source end: it opens channels.

    dialer      gets a channel its links, one after the other
    local_users the programs of this host that have channels, within limits
    client      opens channels, and keeps them alive
    forwarder   the factory of a socket, whose connections become channels
    throughput  measures a tunnel's throughput
"""
