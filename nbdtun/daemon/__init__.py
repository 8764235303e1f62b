"""
The two daemons, as the commands `nbdtun source` and `nbdtun dest` and as twistd plugins; and the process that stands by.

    options     the shared options, as options of twistd
    journal     log lines with fields, in systemd's journal
    log         log lines as text and as JSON
    notify      what a service manager is told
    program     the daemon's program, started again to take its place
    reload      a running daemon reads its options again
    service     the service that is run; a failure to start is one line
    standby     the process beside a migration of libvirt's
    worker      a process that has channels of a daemon's
    source_tap  the source daemon: its options and services
    dest_tap    the destination daemon
"""
