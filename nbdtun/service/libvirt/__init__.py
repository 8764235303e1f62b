"""
Migrations of libvirt's VMs, joined to the tunnel, to the sockets of this host and to the control socket.

    directory    the directory of one migration's sockets, which has the same path at both hosts
    standby      the process beside a migration or a daemon, which takes over if that is killed
    calls        libvirt's own connections through the tunnel
    way          the tunnel as the near end uses it
    takeover     what the standby does then
    migration    one migration, or the way out of an unknown outcome
    checks       `nbdtun check --libvirt`
    clearing     what the standby of a destination's daemon does then
    destination  VMs of libvirt's that arrive at a destination
"""
