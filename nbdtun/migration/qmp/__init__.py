"""
QMP: QEMU's monitor, on Twisted's side.

    loop_thread  a thread with an asyncio loop, in which ``qemu.qmp`` lives
    events       QEMU's events, for code that waits for them
    schema       the shapes of QEMU's answers: a mismatch is an error, never a traceback
    greeting     the first bytes of a monitor, and those of other sockets
    dial         a connection to a monitor's socket
    life         the states of a monitor
    monitor      one monitor: every wait ends with an answer, a timeout or the monitor's loss
"""
