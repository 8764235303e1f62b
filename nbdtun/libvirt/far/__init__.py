"""
The far end's side of a migration of libvirt's: it looks at a domain, makes its images, and says what became of it.

From the ground up; a module imports only what stands above it here:

    needs      what a domain's XML needs of its host
    admission  which places of this host a source may name
    record     what was made, in a file that outlives the far end
    partitions partitions that libvirt cannot remove
    volumes    the images: where each belongs, what is there, how it is made and removed
    look       all that is found of a domain that is to arrive
    outcome    the outcome of a migration, by libvirt's answers and its record
    remains    the end of a migration that did not succeed: what was made is removed
    arrival    one domain that arrives
    arrivals   all that arrive at this host, and what earlier ones have left
    control    the answers to a source's commands
"""
