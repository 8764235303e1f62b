"""The tunnel: it moves byte streams between UNIX sockets of two hosts. It knows nothing of QEMU."""
