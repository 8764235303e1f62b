"""
The push: one file with nbdtun and all that it requires, and its way to a host that has none.

From the ground up; a module imports only what stands above it here:

    startup     the start of the single-file executable
    pack        makes the executable
    executable  the executable of this nbdtun: found, or made
    push        copies it to a host that has none
    shell       commands at a host that ssh reaches
"""
