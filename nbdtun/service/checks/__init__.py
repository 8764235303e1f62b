"""
What is checked before a migration that neither QEMU nor the tunnel knows.

    access        whether QEMU can use the run directory
    certificates  whether they are valid, and for how long
    preflight     `nbdtun check`, whole
"""
