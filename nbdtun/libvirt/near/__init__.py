"""
The near end of a migration of libvirt's: it has the domain, and libvirt moves it.

From the ground up; a module imports only what stands above it here:

    order      what libvirt is told to do: flags and parameters
    survey     the domain that is to move, and its images
    job        libvirt's own migration, and what is asked meanwhile
    pending    a handover whose outcome is not known yet, in a file
    obstacles  what prevents a domain from leaving
    handover   the moment in which libvirt waits for the guest to run at the destination
    way        the tunnel and its sockets, as an interface
    session    the client of the session at the far end
    settling   after a failure: where the domain is
    watch      progress, limits, and time limits
    departure  the order of steps, from the check to the outcome
    resolve    the way out of an unknown outcome
"""
