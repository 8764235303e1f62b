"""
libvirt's remote procedure calls, on their way through the tunnel. Everything but ``proxy`` is rules only: no socket, no clock.

- ``messages``: whole messages, of the pieces of a stream
- ``xdr``: the encoding of what is in them (RFC 4506)
- ``procedures``: the calls of a peer-to-peer migration, as recorded
- ``arguments``: what such a call has as its arguments
- ``refusal``: the answer to a call that does not pass
- ``grant``: what both ends have agreed on
- ``places``: what of its host a domain's XML names
- ``markup``: XML from a peer, read as libvirt reads it, or not at all
- ``gate``: which messages pass
- ``keepalive``: which are answered while the link is away
- ``proxy``: the two sockets
"""
