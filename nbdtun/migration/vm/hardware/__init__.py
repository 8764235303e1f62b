"""
The two machines as their guest sees them: read from each QEMU, compared whole before anything begins.

:mod:`.read` asks a QEMU and changes nothing; :mod:`.compare` has the rules, without I/O; :mod:`.wire` carries what one end has read to
the other.
"""
