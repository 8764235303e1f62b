"""
The tunnel: byte streams between UNIX sockets on two hosts, which outlive their network connections. It knows nothing about QEMU.

From the ground up; a package imports only what stands above it here:

    settings     the terms of channels, and the limits of a destination
    protocol     the rules, without I/O: frames, the two halves of a stream, collected records, buffers
    wires        sockets on the reactor: plain, TLS, batched; the selector that serves them
    opening      a new connection until it becomes a link: two AMP commands, with limits
    runtime      shared by all channels of one end: buffers, throttle, timers, log limits
    channels     a channel, the link that carries it at present, the splice to its local socket
    source       opens channels: dials, resumes, listens for local programs
    destination  accepts channels: admission, targets, the record of ended channels

``source`` and ``destination`` never import each other.

The path of a byte: local socket -> channels.splice -> protocol.outbound -> channels.link -> wires -> the other host's wires ->
channels.link -> protocol.inbound -> channels.splice -> local socket. docs/protocol specifies the wire
protocol, docs/design explains it.
"""
