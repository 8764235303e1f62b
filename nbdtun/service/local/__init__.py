"""
Sockets and directories of this host, and their owners.

    ownership    directories that other users could replace
    descriptors  those that cross from one process to another with a message
    listening    endpoints to listen on, with errors of one line
    heritage     listening sockets of the program whose place this one takes
    base         the base of run directories
    rundir       directories for the sockets of one process
    monitors     the identity of a VM: its monitor's socket
    outcomes     the outcomes of sessions, kept until their sources know them
    vms          the VMs that a destination serves: the names, and the sockets of their QEMUs
    expiries     until when the files of TLS are valid
    waiting      what a daemon that is shutting down still waits for, in words
"""
