"""
The two machines as their guest sees them: read from each QEMU, compared whole before anything begins.

:mod:`~nbdtun.migration.hardware.read` asks a QEMU and changes nothing; :mod:`~nbdtun.migration.hardware.compare` has the rules, without
I/O; :mod:`~nbdtun.migration.hardware.wire` carries what one end has read to the other.
"""
