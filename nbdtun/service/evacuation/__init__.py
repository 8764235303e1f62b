"""
The evacuation of this host: what asks VMs and destinations, starts the migrations, and follows them to their ends.

From the ground up:

    places      where a VM's migration is reached, and its settings
    survey      the VMs of this host
    whereabouts the destinations, asked for their memory, and for a VM that is here no more
    listing     both, for `nbdtun vms`
    fitness     which destination can take which VM
    planning    the plan, from all of these
    child       a migration's process, and what it leaves when it has ended
    hooks       the operator's executables
    crew        the processes under way: started, adopted, asked and told
    book        what the evacuation knows, which is in the journal first
    aftermath   what follows from the end of a VM's process
    engine      the loop: what is due, noted in the journal, and done
    control     the answers to `nbdtun status`, `set` and `cancel`
    run         an evacuation from its beginning, or from its journal
"""
