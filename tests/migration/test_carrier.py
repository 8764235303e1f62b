from __future__ import annotations

from nbdtun.errors import TargetUnreachable
from nbdtun.migration.carrier import with_trouble
from tests.migration.stage.stage import PaperIngress, Stage


def test_what_qemu_cannot_know_is_told_beside_what_it_says() -> None:
    ingress = PaperIngress(Stage(), "nbd", "nbd")
    assert with_trouble("job failed", None) == with_trouble("job failed", ingress) == "job failed"
    ingress.trouble = TargetUnreachable("target nbd: Connection refused")
    assert with_trouble("job failed", ingress) == "job failed; in the tunnel: target nbd: Connection refused"
