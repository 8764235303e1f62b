"""Where run directories are."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.service.local.base import base_of, default_base


@pytest.mark.parametrize(
    ("uid", "service", "runtime", "wanted"),
    [
        (0, "", "/run/user/0", "/run/nbdtun"),
        (0, "/run/mine", "/run/user/0", "/run/nbdtun"),
        (7, "/run/mine", "/run/user/7", "/run/mine"),
        (7, "/run/mine:/run/other", "", "/run/mine"),
        (7, "", "/run/user/7", "/run/user/7/nbdtun"),
        (7, "", "", "/tmp/nbdtun-7"),
    ],
)
def test_default_base(monkeypatch: pytest.MonkeyPatch, uid: int, service: str, runtime: str, wanted: str) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", service)
    monkeypatch.setattr("nbdtun.service.local.base.os.geteuid", lambda: uid)
    monkeypatch.setattr("nbdtun.service.local.base.tempfile.gettempdir", lambda: "/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert default_base() == Path(wanted)


def test_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert (base_of("run"), base_of(None)) == (Path("/usr/run"), default_base())
