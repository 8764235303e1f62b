"""
QEMU's command line by QEMU's own rules, without I/O: read, changed, and written again.

    options    every option that QEMU knows, and whether it takes a value
    params     the value of an option as keys and values: ``key=value,...`` or JSON
    config     the files of ``-readconfig``
    line       a whole command line, as options
    character  what follows ``-serial``, ``-monitor``, ``-qmp``: a character device in one word
    hidden     a whole command line as it is shown, without secrets

QEMU facts (7.2 and 10.0; softmmu/vl.c, util/qemu-option.c, util/keyval.c, chardev/char.c, util/qemu-config.c): an option begins with one or
two dashes, and never has its value in the same word. A word without a dash is a disk, as with ``-hda``.
"""
