"""
The tunnel's rules, without I/O: no socket, no clock, no Deferred.

    frames    the frames of a link, and their decoder
    slab      buffers that are lent, and come back
    inflight  how much each channel may have in flight
    outbound  a stream's sending half: what is kept until it is acknowledged
    inbound   its receiving half: what has come, and what is acknowledged
    seal      the keys of a link, and how a record is sealed and opened
    records   a reader of sealed records
"""
