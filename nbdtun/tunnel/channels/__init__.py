"""
Channels: durable streams in both directions, which outlive the links that carry them.

    rtt        the round trip of a link, and how much its line holds
    heartbeat  whether a link lives
    outage     the time between two links
    link       one connection that carries a channel just now
    splice     the local socket of a channel
    channel    the whole, from its opening to its end
"""
