"""
The source end: it opens channels.

    dialer      gets links for channels, again and again
    client      opens channels, for the programs that connect to a local socket
    throughput  measures what a tunnel carries
"""
