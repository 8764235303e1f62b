"""What of its host a domain's XML names: files, devices, networks, sockets, addresses, labels."""

from __future__ import annotations


def places(xml: str) -> frozenset[str]:
    """
    Return all that the XML of a ``<domain>`` names of its host, a text each: a path as it is, anything else with its kind before it.

    Examples: ``/var/lib/libvirt/images/web1.qcow2``, ``interface:network:default``, ``volume:default/web1``, ``address:10.0.0.1:5555``.

    :raise NotMigratable: it has what no tunnelled migration may bring along (host devices, QEMU's own arguments), or is not such XML.
    """
    raise NotImplementedError
