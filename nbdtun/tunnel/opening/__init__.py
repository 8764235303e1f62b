"""
A new connection, until it is a link: two AMP commands, bounded in size and time.

    detach     takes a connected socket out of Twisted
    commands   OpenChannel and ResumeChannel
    transport  AMP on a wire
"""
