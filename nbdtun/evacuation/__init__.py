"""
The evacuation of a host: which VM goes where, what is done next, and what became of each. Rules, and a journal on disk.

From the ground up:

    life       the states of a VM in an evacuation
    rules      the operator's rules: together, apart, pinned, order, priority
    window     the hours in which a guest may switch over
    terms      how a host is evacuated, as its operator has asked for it
    values     a VM's part of the plan, and what became of it
    placement  which VM goes to which destination
    plan       a plan as lines, as JSON, and as TOML, which can be edited
    budget     how the bandwidth is divided
    retries    where and when a VM is tried again, by the code of its error
    outcome    what the end of a migration's process means for its VM
    schedule   which step is due for which VM
    overview   all of an evacuation at one moment
    journal    all of it on disk, written before each step

It knows no QEMU, no tunnel and no process: :mod:`nbdtun.service.evacuation` asks VMs and destinations, and starts the migrations.
"""
