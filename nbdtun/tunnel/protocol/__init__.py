"""
The tunnel's rules, without I/O: no socket, no clock, no Deferred.

    frames    the frames of a link, and their decoder
    slab      buffers that are lent and returned
    inflight  how much each channel may have in flight
    growth    how much of its window a sender uses
    outbound  a stream's sending half: bytes are kept until they are acknowledged
    inbound   a stream's receiving half: how far it has arrived, and is acknowledged
    records   a reader of TLS records
"""
