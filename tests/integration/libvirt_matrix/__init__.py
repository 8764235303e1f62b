"""The same for VMs of libvirt's: each fault in each phase of a migration, and the one end that it has."""
