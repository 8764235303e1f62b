"""
Migrations of libvirt's VMs: libvirt does them, and nbdtun everything around them.

From the ground up; a module imports only what stands above it here:

    rpc         libvirt's own calls between the two hosts, as far as they go through the tunnel
    values      what crosses between the two ends: frozen, and JSON
    commands    the commands between the two ends, on a control channel
    findings    what a check can find of such a migration
    connection  a connection to the libvirt of this host
    host        what that libvirt says, as plain values
    pools       its storage pools and their volumes
    domain      reads a domain's XML, and rewrites it for another host
    far         the far end's side: it looks, makes the images, and says what became of the domain
    near        the near end's side: what is to move, the order of steps, libvirt's own migration, and its outcome

Only ``connection`` imports libvirt's own binding, and only when a connection is opened: nbdtun runs without it.
"""
