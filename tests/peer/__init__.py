"""
A second implementation of the protocol, made from its pages alone (`docs/protocol.rst`, `docs/control.rst`).

It proves that the pages are enough. So it imports nothing of the product, shares none of its libraries, and is built in another way:
blocking sockets and threads, and Python's own `ssl`. It is small rather than quick, and no tool for operators.

`messages.py` and `frames.py` are what is on the wire, `wire.py` a connection, `channel.py` one end of a channel, `source.py` and
`destination.py` the two ends of a tunnel, `control.py` the talk of a migration, `sender.py` and `receiver.py` its two ends.
"""
