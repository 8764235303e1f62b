"""
The tunnel: byte streams between UNIX sockets of two hosts, which outlive their network connections. It knows nothing of QEMU.

From the ground up; a package imports only what stands above it here:

    settings     the terms of channels, and the limits of a destination
    protocol     the rules, without I/O: frames, the two halves of a stream, sealed records, buffers
    wires        sockets on the reactor: plain, TLS, sealed; the selector that serves them
    opening      a new connection until it is a link: two AMP commands, bounded
    runtime      what all channels of one end share: buffers, throttle, timers, log limits
    channels     a channel, the link that carries it just now, the splice to its local socket
    source       opens channels: dials, resumes, listens for local programs
    destination  accepts them: admission, targets, the channels that have ended

``source`` and ``destination`` never import each other.

A byte goes: local socket -> channels.splice -> protocol.outbound -> channels.link -> wires -> the other host's wires -> channels.link ->
protocol.inbound -> channels.splice -> local socket. The wire protocol is specified in docs/protocol, and explained in docs/design.
"""
