"""All that is found of a plan."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.spawn.far import look as looking
from nbdtun.spawn.far.host import own_name
from nbdtun.spawn.far.look import look, missing_of
from nbdtun.spawn.values import Interface, Network, Plan, Port, Role
from nbdtun.spawn.values import Path as Where
from tests.spawn.stage import PLAN, evolved, image_of


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """One that has all it needs, but for QEMU."""
    image = image_of(path=str(tmp_path / "new/a"), needed=1, owner=own_name())
    qmp = str(tmp_path / "run/q")
    plain = {"interfaces": (), "ports": (), "findings": (), "images": (image,), "paths": (Where(qmp, Role.SOCKET, "-qmp"),), "qmp": qmp}
    return evolved(PLAN, emulator="/gone/no-qemu", user=own_name(), **plain)


def failures(plan: Plan) -> list[str]:
    return [finding.what for finding in look(plan).findings][1:]


def test_qemu_is_missed_first(plan: Plan) -> None:
    assert look(plan).findings[0].what == "/gone/no-qemu is not there"
    assert failures(plan) == []


def test_directories_are_missing(plan: Plan, tmp_path: Path) -> None:
    assert missing_of(plan) == list(look(plan).missing) == [str(tmp_path / "new"), str(tmp_path / "run")]


def test_space(plan: Plan, tmp_path: Path) -> None:
    (what,) = failures(evolved(plan, images=(image_of(path=str(tmp_path / "a"), needed=1 << 60, owner=""),)))
    assert what.startswith(f"{tmp_path}: the disks need 1 EiB, and ")


def test_interfaces_and_ports(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "is_taken", lambda port, udp: port == 5901)
    made = evolved(
        plan,
        interfaces=(Interface("tap99", Network.TAP, "-netdev n", "netdev.n.ifname"),),
        ports=(Port("", 5901, "-vnc"), Port("", 2, "-x")),
    )
    assert failures(made) == ["-netdev n: there is no tap tap99", "-vnc: port 5901 is taken"]
    assert look(made).findings[1].remedy == "make it: ip tuntap add tap99 mode tap; or use --set netdev.n.ifname=NAME"


def test_two_disks_in_one_image(plan: Plan) -> None:
    (image,) = plan.images
    assert failures(evolved(plan, images=(image, image_of(node="vdb", path=image.path, owner=own_name())))) == [
        f"disk vdb: {image.path} is disk vda's already"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_users_of_root(plan: Plan) -> None:
    (image,) = plan.images
    made = evolved(plan, user="nobody-there", images=(image_of(path=image.path, owner="none-such"),))
    assert failures(made) == [
        "there is no user nobody-there, who runs QEMU at the source",
        "there is no user none-such, who owns images at the source; they will be root's",
    ]


def test_what_would_end_with_the_ssh_session(plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(looking, "units_end_with_the_session", lambda: True)
    monkeypatch.setattr(looking, "goes_with_the_session", lambda path: path == plan.qmp)
    assert failures(plan) == [f"{plan.qmp} is removed when ssh ends"]
    assert failures(evolved(plan, unit=True))[0] == f"a unit of {own_name()}'s ends when ssh does"
