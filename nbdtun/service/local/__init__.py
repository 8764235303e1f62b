"""
Sockets and directories of this host, and whom they belong to.

    ownership  directories that others could replace
    listening  UNIX sockets to listen on
    rundir     directories for the sockets of one run
"""
