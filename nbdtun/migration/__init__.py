"""The migration: it drives two QEMUs through QMP. It knows phases and disks, and nothing of sockets and links."""
