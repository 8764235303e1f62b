"""
The two machines as their guest sees them: read from each QEMU, compared as a whole before anything begins.

    model       one machine, as frozen values
    places      the place of a device, from the board downward
    facts       the properties of a device that its guest can see
    walk        reads the tree of QEMU's objects
    cpu         reads the processor's features
    blocks      reads the blocks of RAM and ROM
    read        reads a whole machine, and changes nothing
    devices     compares devices
    processors  compares processors
    keepers     finds content that neither a mirror nor the memory's stream carries
    compare     the whole comparison, without I/O
    wire        carries one machine to the other end
"""
