"""
Who owns what: the only part of nbdtun that gives files away, binds and reaches sockets of the file system, and removes things.

A daemon that runs as root works in directories that belong to QEMU's user, who may rename a symbolic link over any name in them at any
time. So nothing there is done by path. Rules that hold in all of its modules, and nobody else calls the functions that would break them
(``tests/test_architecture.py``):

- A way is walked by descriptors, one name after the other (:mod:`.way`). A link is followed where only root or we could have put it.
- What is given to a user is given while nobody else can name it, or by a descriptor of the very thing (:mod:`.listening`,
  :mod:`.directories`).
- What is removed is a name in a directory that is held open; that never reaches what a link leads to.
- Who answers at a socket is checked after connecting to it (:mod:`.reach`).

Two modules are for what is safe by path: :mod:`.files` that an operator has named, and abstract :mod:`.names`, which are in no file system.

It knows neither tunnel nor QEMU.
"""
