"""
The tunnel, built from settings, and as the migration uses it.

    records   who makes the TLS records
    served    a port that one process serves, and no other after it
    build     the two ends of a tunnel
    endpoint  a channel as a transport, for Twisted applications and for the control channel
    reached   a destination that ssh reaches and starts
    late      the same for a tunnel alone, when a channel is opened
    introduced
              a destination that a code leads to
    far       either of these two
    carrier   the migration's ingresses at the source, and the egress at the destination
"""
