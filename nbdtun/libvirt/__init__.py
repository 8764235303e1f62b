"""
VMs of libvirt: what nbdtun does around libvirt's own migration.

- ``rpc``: libvirt's remote procedure calls, as far as they go through the tunnel: what passes, and what is answered here.
"""
