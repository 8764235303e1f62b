"""
What a check can find of a migration of libvirt's, beside the findings of :mod:`nbdtun.migration.catalogue`.
"""

from __future__ import annotations

from typing import Final

from nbdtun.errors import LibvirtError, NotAllowed, NotMigratable
from nbdtun.migration.catalogue import Kind
from nbdtun.migration.finding import Check, Level

SNAPSHOTS: Final = Kind(
    Check.IMAGES,
    Level.FAILURE,
    "libvirt's domain has snapshots or checkpoints, and libvirt moves no such domain.",
    "delete them with `virsh snapshot-delete` or `virsh checkpoint-delete`",
    (NotMigratable,),
)
TRANSIENT: Final = Kind(
    Check.SOURCE,
    Level.WARNING,
    "The source is to keep a transient domain, of which libvirt keeps no definition once its guest has left.",
    "define it before, to keep it: `virsh dumpxml` and `virsh define`",
)
ALONE: Final = Kind(
    Check.IMAGES,
    Level.WARNING,
    "A disk that is not copied is on a file system of its host alone: libvirt takes that for unsafe, and refuses the migration.",
    "have it copied: without <shareable/> in the domain, and by --disk if that is given; or keep it where both hosts see it",
)
UNRESOLVED: Final = Kind(
    Check.SOURCE,
    Level.FAILURE,
    "An earlier migration of the domain was handed over, and its outcome is not known yet.",
    "use --resolve",
    (NotMigratable,),
)
UNANSWERED: Final = Kind(
    Check.DESTINATION,
    Level.FAILURE,
    "The destination's libvirt cannot be asked, or its QEMU's sockets cannot be used.",
    "start libvirt there, and run nbdtun there as root, or as the user of libvirt's QEMUs",
    (LibvirtError, NotMigratable),
)
THERE: Final = Kind(
    Check.DESTINATION,
    Level.FAILURE,
    "The destination is the source's own host, or has a domain of that name or UUID already.",
    "end or rename the one there; or resolve what became of it with --resolve",
    (NotMigratable,),
)
LEFT: Final = Kind(
    Check.DESTINATION,
    Level.WARNING,
    "A broken attempt has left something at the destination that no guest has run on.",
    "the next attempt removes it",
)
KEPT: Final = Kind(
    Check.DESTINATION,
    Level.FAILURE,
    "A broken attempt has left something at the destination that a guest may have run on.",
    "use --resolve; or remove what is there, if nothing in it is needed",
    (NotMigratable,),
)
PROCESSOR: Final = Kind(
    Check.CPU,
    Level.FAILURE,
    "libvirt at the destination cannot give the guest its CPU.",
    "use a CPU model in the domain that both hosts have: `virsh hypervisor-cpu-baseline`",
    (NotMigratable,),
)
PASSED_THROUGH: Final = Kind(
    Check.CPU, Level.WARNING, "The guest has the host's own CPU, which libvirt cannot compare.", "both hosts must have the same CPU"
)
FORBIDDEN: Final = Kind(
    Check.PLACE,
    Level.FAILURE,
    "The domain names a place of the destination's host that its daemon does not admit.",
    "let it be in a storage pool, or in a directory that the daemon there admits",
    (NotAllowed,),
)
