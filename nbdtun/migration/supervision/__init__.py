"""
Supervision of a running migration.

    budget       bandwidth and downtime, which may change meanwhile
    moment       when the guest may be switched over, which may change too
    meter        rates, and the time that is left
    convergence  help for a guest that changes faster than it can be copied
    watchdog     time limits, and stalls
    constancy    the machine must not change meanwhile
    supervision  meter, convergence and watchdog, as one value
    sampler      queries QEMU once a second, for all of the above
"""
