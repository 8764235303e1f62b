"""
``.. waits::`` is the table of a migration's waits, made of the one that the program declares.

``.. waits-behind-ssh::`` has those of ``nbdtun.reach`` and ``nbdtun.spawn``. Its limits are the program's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nbdtun.migration.waits import WAITS
from nbdtun.reach import child, far, host, near
from nbdtun.reach.codes import offer
from nbdtun.reach.pushing import push
from nbdtun.service import receive
from nbdtun.service.tunnel import reached
from nbdtun.spawn.far import earlier, emulator, images, maker
from nbdtun.units import duration_text


@frozen
class Row:
    """One wait: what, for how many seconds at most (or as a text), and what ends it earlier."""

    what: str
    bound: float | str
    ended_by: str

    @property
    def limit(self) -> str:
        """Its bound, for a reader."""
        return self.bound if isinstance(self.bound, str) else duration_text(self.bound)


_EITHER = "the operator; ssh's end"
_SESSION = "the answer alone"
BEHIND_SSH = (
    Row("ssh, until the far end has spoken, where a terminal can be asked for a password", host.ATTENDED, _EITHER),
    Row("the same, where nobody is asked: links through ssh, a daemon", host.UNATTENDED, _EITHER),
    Row("ssh, to bring a host the nbdtun that it does not have: for the question, and for the copy", push.SOON, _EITHER),
    Row("the same, for a whole copy", push.LONG, _EITHER),
    Row("the far end's answer to a short question", near.SOON, _EITHER),
    Row("its answer where images are compared or made, or a QEMU is started", near.LONG, _EITHER),
    Row("its port, at all of its addresses at once; then links go through ssh", reached.PORT_SECONDS, "the first answer"),
    Row("ssh's own end", child.GRACE, "nothing; it is killed then"),
    Row("at the far end: the first line of who has connected", far.FIRST_LINE, "the end of the connection"),
    Row("at the far end: somebody who asks for something, after its start", receive.FIRST_WINDOW, "a question"),
    Row("at the far end: a near end that comes back", "``--resume-window`` (5 min)", "its return; the end of its work"),
    Row("at the far end: a QEMU that is asked what it can do", emulator.SECONDS, _SESSION),
    Row("at the far end: each ``qemu-img``", images.SECONDS, "its end alone"),
    Row("at the far end: the monitor of a QEMU that was started", maker.START_SECONDS, "QEMU's end"),
    Row("at the far end: the end of a QEMU that a killed one has left", earlier.END_SECONDS, "nothing; it is killed after half of that"),
    Row("with a code: an offer that is made again, after another command has left", offer.AGAIN_SECONDS, "the operator"),
    Row("with a code: the other end's connection, its greeting", offer.CONNECTION_SECONDS, "the operator; the end of the connection"),
    Row("with a code: the other end, until it is ready", offer.READY_SECONDS, "the operator; the end of the connection"),
)


def _table(widths: str, rows: Iterable[Iterable[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for first, *others in rows:
        lines += [f"   * - {first}", *(f"     - {each}" for each in others)]
    return "\n".join(lines)


class Waits(SphinxDirective):
    """One table: each wait, its limit, and what ends it earlier."""

    def run(self) -> list[nodes.Node]:
        head = ("what is waited for", "in phase", "at most", "ended earlier by")
        rows = ((wait.what, ", ".join(phase.value for phase in wait.phases) or "-", wait.limit, wait.ended_by) for wait in WAITS)
        return self.parse_text_to_nodes(_table("36 20 22 22", [head, *rows]))


class BehindSSH(SphinxDirective):
    """The other one."""

    def run(self) -> list[nodes.Node]:
        rows = ((row.what, row.limit, row.ended_by) for row in BEHIND_SSH)
        return self.parse_text_to_nodes(_table("50 20 30", [("what is waited for", "at most", "ended earlier by"), *rows]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("waits", Waits)
    app.add_directive("waits-behind-ssh", BehindSSH)
    return {"parallel_read_safe": True}
