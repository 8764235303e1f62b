"""
Channels: durable streams in both directions, which outlive the links that carry them.

    rtt        the round trip of a link, and the bytes that its line holds
    heartbeat  whether a link is alive
    outage     the time between two links
    figures    what a channel has done so far
    link_user  a channel, as its links see it
    link       one connection that carries a channel at present
    splice     the local socket of a channel
    life       the states of a channel
    carried    a channel, whichever process of its end has it
    here       a channel of this process, as its end asks it
    channel    a channel as a whole, from its opening to its end
    ledger     what the channels of one end have carried
    standing   links that end when their peer's certificate is revoked
"""
