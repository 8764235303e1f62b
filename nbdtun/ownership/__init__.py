"""
Ownership: the only part of nbdtun that changes the owner of files, binds and connects to sockets in the file system, and removes files.

A daemon that runs as root works in directories that belong to QEMU's user. That user may rename a symbolic link over any name in them at
any time, so nothing there is done by path. All modules here follow these rules, and no other module calls the functions that could break
them (``tests/test_architecture.py``):

- A path is walked by descriptors, one name after the other (:mod:`.way`). A link is followed only if root or we must have put it there.
- A file is given to a user while no other process can name it, or by a descriptor of that file (:mod:`.listening`, :mod:`.directories`).
- Only names in a directory that is held open are removed, so a removal never follows a link.
- The process behind a socket is checked after connecting to it (:mod:`.reach`; :mod:`.reacher` is
  its endpoint).

:mod:`.loopback` tells whose process is at the other end of a TCP connection within this host. :mod:`.labels` has SELinux's for sockets.

Five modules are for paths that are safe: :mod:`.files`, :mod:`.given` and :mod:`.images` at paths that an operator named, :mod:`.cache` in
a directory of the user's own, and abstract :mod:`.names`.

It knows neither tunnel nor QEMU.
"""
