"""
Wires: sockets on the reactor, which move bytes in and out.

    tuning    options of sockets
    pipe      splice(2), from one socket to another
    selector  serves all wires of an end from one epoll descriptor
    plain     a wire without TLS, which the others build upon
    tls       one with Python's ``ssl``
    sealed    one with records of the tunnel's own, under keys that TLS has exchanged
"""
