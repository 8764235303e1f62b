"""
The parts of `nbdtun certs`.

From the ground up; a module imports only what stands above it here:

    authority  a CA that can sign
    request    keys that stay on their host, and what a CA makes of their requests
    inventory  the certificates in a directory, and until when they are valid
"""
