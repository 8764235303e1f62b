"""
TLS 1.3 records (RFC 8446, 5), made and read by ourselves. Rules only: no socket, no clock.

Python's ``ssl`` needs two system calls and a buffer for each record of 16 KiB. Here sixteen of them are made for one write. On the wire
they are ordinary TLS 1.3: the other end cannot tell, and need not know.

From the ground up; a module imports only what stands above it here:

    suites      the cipher suites, and how much one key may protect
    schedule    keys from traffic secrets, and the next secret
    state       the state of both directions, for another process
    messages    what else than data a peer may send: alerts, tickets, KeyUpdate
    protection  one direction: records sealed, records opened
"""
