"""
The checks before a migration that need neither QEMU nor the tunnel; and the whole pre-flight.

    access        whether QEMU can use the run directory
    certificates  whether the certificates are valid, and for how long
    preflight     `nbdtun check`, whole
"""
