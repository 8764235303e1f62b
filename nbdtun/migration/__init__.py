"""
The migration: two QEMUs, and the order of their steps. It knows nothing of the tunnel, and no sockets.

From the ground up; a package imports only what stands above it here:

    progress, ids, finding, catalogue, timeouts, settings   values: what is reported, named, found, limited and requested
    tally        how migrations have ended, counted
    bond         what binds a session to its source
    capacity     how many VMs a destination receives at a time, and what is free for them
    carrier      the port to the tunnel
    qmp          a QEMU monitor: commands, answers, events; the only asyncio
    rollback     each step's undo, and the journal that survives a killed process
    vm           one noun of QEMU's each: machine, guest, disks, mirror, exports, memory
    control      the commands between the two ends
    supervision  watches a running migration: samples, rates, time limits, convergence
    check        whether a VM can be migrated, and how long that would take
    source       runs a migration, from the first step to the handover or back
    destination  keeps the sessions of VMs that arrive
    waits        each wait of a migration, as a table

``source`` and ``destination`` never import each other.

A migration goes: source.migration -> source.session_client -> control -> destination.sessions -> destination.session; then vm.mirror
copies the disks, vm.memory sends the memory, and source.handover lets the guest run there. docs/phases has its phases.
"""
