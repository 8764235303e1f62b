"""
What all channels of one end share.

    log_limits  lines in the log that peers cause
    throttle    the limit of bandwidth
    batches     timers, many in one
    runtime     the reactor, buffers, timers and the others, in one value
"""
