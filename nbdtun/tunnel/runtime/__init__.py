"""
Shared by all channels of one end.

    log_limits  limits for log lines that peers cause
    bucket      what is spent of the bandwidth, perhaps by several processes
    throttle    the bandwidth limit
    brake       holds the programs of one socket back
    batches     timers that fire together
    contact     when the other end was heard, and its outages
    runtime     the reactor, buffers, timers and the rest, in one value
"""
