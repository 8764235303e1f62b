"""
A new connection, until it becomes a link: two AMP commands, limited in size and time.

    detach     takes a connected socket out of Twisted
    commands   OpenChannel and ResumeChannel
    transport  AMP on a wire
"""
