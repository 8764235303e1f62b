"""
What crosses between the two ends of a migration of libvirt's, as frozen values; each is one JSON object with exactly these fields.

Paths are those of the far end. Sizes are in bytes. A text that is empty, and a number of -1, is not known or not wanted.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from nbdtun.errors import printable
from nbdtun.migration.capacity import Space
from nbdtun.migration.finding import Finding, Level
from nbdtun.spawn.values import Twin


def _shown(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The other end's texts, which will stand on an operator's terminal."""
    return tuple(evolve(each, what=printable(each.what), remedy=printable(each.remedy)) for each in findings)


@frozen
class Image:
    """
    The image of a disk that is copied, or is to be.

    ``target`` is the disk's name in the domain (``vda``). ``path`` is where libvirt's XML has it; a disk of ``type='volume'`` also has
    its ``pool`` and ``volume``. ``device`` is whether it is a block device. ``capacity`` is what the guest sees, ``allocation`` what the
    image takes at the source.

    ``compat`` (``0.10``, ``1.1``), ``extended_l2`` and ``cluster`` (bytes; 0: the default) are those of a qcow2 image. ``owner`` and
    ``group`` are names at the source, ``mode`` is as chmod(2) has it. By its ``twin`` the far end knows the source's own image again.
    """

    target: str
    path: str
    format: str
    capacity: int
    allocation: int = 0
    compat: str = ""
    extended_l2: bool = False
    cluster: int = 0
    device: bool = False
    pool: str = ""
    volume: str = ""
    owner: str = ""
    group: str = ""
    mode: int = -1
    twin: Twin = field(factory=Twin)


@frozen
class Wanted:
    """
    The domain that is to arrive: its ``name`` there, its ``uuid`` (with hyphens, in lower case), and its ``xml`` as it is to be there;
    ``persistent`` is that of its definition, empty for a transient one.

    ``images`` are those of the disks that are copied, and no others. ``nvram`` is the size of the NVRAM file that the XML names; 0 if
    there is none. ``host`` is the UUID of the source's host, and ``hostname`` its name, as libvirt has them: it refuses a migration to
    the same. ``overwrite``: what is in the images there may be given up. ``autostart``: it is started with its host.
    """

    name: str
    uuid: str
    xml: str
    images: tuple[Image, ...] = ()
    persistent: str = ""
    nvram: int = 0
    host: str = ""
    hostname: str = ""
    overwrite: bool = False
    autostart: bool = False

    @property
    def forms(self) -> tuple[str, ...]:
        """Its XML, and that of its definition."""
        return (self.xml, self.persistent) if self.persistent else (self.xml,)


@frozen
class Found:
    """
    What the far end has found: ``findings``, and the versions of its ``libvirt`` and its ``hypervisor``, as libvirt counts them
    (1000000 * major + 1000 * minor + release). ``spaces`` is the disk space that the images need.
    """

    findings: tuple[Finding, ...] = field(default=(), converter=_shown)
    libvirt: int = 0
    hypervisor: int = 0
    spaces: tuple[Space, ...] = ()

    @property
    def fit(self) -> bool:
        """Whether nothing is in the way of a migration."""
        return all(finding.level is not Level.FAILURE for finding in self.findings)


@frozen
class Prepared:
    """
    What the far end has made ready.

    ``directory`` is its directory of the session, which the near end makes under the same name: QEMU there will listen at ``memory.sock``
    and ``disks.sock`` in it. ``libvirt``, ``memory`` and ``disks`` are the tunnel's targets. ``mode`` is ``system`` or ``session``: the
    path of the URI of the libvirt there (``qemu+unix:///MODE?socket=...``).
    """

    directory: str
    libvirt: str
    memory: str
    disks: str
    mode: str = "system"


@frozen
class Fate:
    """
    What became of the domain at the far end.

    ``state`` is libvirt's word for its state (``running``, ``blocked``, ``paused``, ``shutdown``, ``shutoff``, ``crashed``,
    ``pmsuspended``); empty: libvirt there knows no such domain. ``reason`` is libvirt's word for its reason (``migration``, ``user``...).

    ``waits``: it is paused, and has not been given its guest yet. ``has_run``: its guest runs there, has run, or may have: the source must
    not go on with it. ``doubtful``: it may have run, or may not, and is gone. ``begun``: there is a record of a migration there. ``kept``
    are the images that were made and stay.
    """

    state: str = field(default="", converter=printable)
    reason: str = field(default="", converter=printable)
    waits: bool = False
    has_run: bool = False
    doubtful: bool = False
    begun: bool = False
    kept: tuple[str, ...] = ()


def mode_of(uri: str) -> str:
    """``system`` or ``session``: whose libvirt a URI names, by its path."""
    return "session" if uri.partition("?")[0].endswith("/session") else "system"
