"""
The destination QEMU, planned from the one that runs at the source, and made at the far end. It knows no tunnel, and starts no migration.

From the ground up; a module imports only what stands above it here:

    values    a plan, and what the far end has found: frozen, and JSON between the two ends
    wire      those values as JSON
    content   files and block devices, as both hosts can compare them
    command   QEMU's command line, by QEMU's own rules
    rewrite   from the source's command line to a plan, without I/O
    near      the source's side: what its QEMU is, and what the files of a plan are like
    far       the far end's side: it looks at a plan, makes it, and removes what it made

A plan is made in three steps, each of which can be looked at: the source's command line is read and rewritten, the far end says what it
has, and both are compared. Only then is anything made; and what was made can be removed, until a guest has run on it.

The far end looks at a plan (``look``: a plan to what was found, both as JSON), makes it (``make``: a plan to the path of a QMP socket),
removes what it made, or keeps it for good.
"""
