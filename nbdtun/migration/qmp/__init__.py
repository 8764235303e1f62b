"""
QMP: QEMU's monitor, on Twisted's side.

    loop_thread  a thread with an asyncio loop, in which ``qemu.qmp`` lives
    events       QEMU's events, for those who wait for them
    schema       the shapes of QEMU's answers: a mismatch is an error, never a traceback
    dial         a connection to a monitor's socket
    monitor      one monitor: questions that end, in time or with its loss
"""
