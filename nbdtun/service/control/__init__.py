"""
The control sockets that `nbdtun status`, `set`, `reload` and `cancel` reach.

    names      the names of control sockets
    commands   the questions over a control socket, and their report
    subject    what a control socket controls
    changes    what a daemon was told, for its other processes
    socket     the control socket of a process
    client     its other end, in the command
    daemon     the control of a daemon
    audience   those who hear of a migration
    migration  the control of a running migration
"""
