"""
What `nbdtun status`, `set` and `cancel` reach.

    socket     the control socket of a process
    client     its other end, in the command
    daemon     what it does in a daemon
    migration  what it does in a process that migrates a VM
"""
