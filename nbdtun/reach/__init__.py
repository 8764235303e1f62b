"""
The other host, before there is a tunnel to it: ssh, and what it starts there. It knows neither tunnel nor QEMU.

From the ground up; a module imports only what stands above it here:

    maker     what makes a destination at the far end: an interface of both ends
    commands  the dialogue between both ends

It ends where a destination listens, and both ends have each other's certificate. docs/reach specifies the dialogue.
"""
