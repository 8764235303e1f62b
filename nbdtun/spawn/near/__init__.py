"""
The source's side: it reads what its QEMU is, and measures the files that a plan names. It changes nothing but for the nonces.

    process   the process behind a monitor: its command line, its directory, its user
    images    the images that QEMU has open, with what matters when they are made anew
    survey    both, as one :class:`~nbdtun.spawn.rewrite.source.Source`
    measure   the sizes, owners and digests of a plan's files
    nonces    files beside the images, by which the far end can tell whether it sees the same ones
"""
