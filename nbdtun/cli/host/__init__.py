"""
The commands about all VMs of a host that change none of them.

    vms  the subcommand of that name
"""
