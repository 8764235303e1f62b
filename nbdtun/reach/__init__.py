"""
The other host, before there is a tunnel to it: ssh, and what it starts there. It knows neither tunnel nor QEMU.

From the ground up; a module imports only what stands above it here:

    maker     what makes a destination at the far end: an interface of both ends
    commands  the dialogue between both ends
    greeting  the first line of each end
    child     a process that is spoken to over one socket
    command   ssh's command line, and what its failures mean
    host      a host that ssh reaches
    relay     the relay at the far end
    near      the near end of the dialogue
    links     links through ssh
    far       the far end of the dialogue
    addresses the addresses of this host
    pushing   one file with nbdtun and all that it requires, and its way to a host that has none
    codes     codes for the telephone, which stand for certificates

It ends where a destination listens, and both ends have each other's certificate. docs/ssh specifies the dialogue.
"""
