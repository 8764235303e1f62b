"""
From the source's command line to a plan for the destination's, without I/O.

    answers    what differs between the two hosts, as the operator says it
    source     what is known of the QEMU at the source
    draft      a plan that is being written: paths, findings
    nodes      the images in ``-blockdev`` and ``-drive``, and what QEMU tells of them
    remote     drives, and images that are reached over the network
    disks      the options that have images
    characters monitors, serial ports and other character devices
    networks   network backends
    objects    ``-object`` and ``-device``
    machine    the machine's type, its accelerator and its CPU
    others     all other options
    plan       the whole

Whatever is not known here is refused: an option, the kind of a backend or an object, or a path in a key that should have none.
"""
