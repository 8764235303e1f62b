"""
The source's side of a migration.

    life            the states of a migration
    outcome         asks the destination how a migration ended
    ingresses       the tunnel's entrances for QEMU
    failure         the error of a failed migration
    force           a guest that is paused early
    session_client  the destination's session, as the source sees it
    hold            the memory waits for the moment of the switchover
    switchover      what happens while the guest stands still
    handover        the step after which the guest runs there
    recovery        undoes or completes a killed migration
    rescue          the same, and nothing else
    resolve         ends a migration whose outcome is unknown
    migration       the whole, from the first step to the last
"""
