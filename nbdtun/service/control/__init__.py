"""
The control sockets that `nbdtun status`, `set` and `cancel` reach.

    names      the names of control sockets
    socket     the control socket of a process
    client     its other end, in the command
    daemon     the control of a daemon
    migration  the control of a running migration
"""
