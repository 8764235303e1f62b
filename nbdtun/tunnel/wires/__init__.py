"""
Wires: the sockets that carry bytes, on the reactor.

    tuning    socket options
    pipe      splice(2), from one socket to another
    selector  serves all wires of an end from one epoll descriptor
    plain     a wire without TLS, the base of the others
    tls       a wire with Python's ``ssl``
    batched   a wire under TLS whose records are made here
    secure    which of them a new connection gets
"""
