"""A package whose names are imported when they are asked for."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from nbdtun.lazy import exports


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("lazy_package")
    monkeypatch.setitem(sys.modules, "lazy_package", made)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    made.__getattr__, made.__dir__ = exports("lazy_package", {"colorsys": "rgb_to_hsv hsv_to_rgb"})  # type: ignore[method-assign]
    return made


def test_a_name_is_imported_when_it_is_asked_for_and_kept(package: ModuleType) -> None:
    assert {"rgb_to_hsv", "hsv_to_rgb", "__name__"} <= set(dir(package))
    assert "colorsys" not in sys.modules
    found = package.rgb_to_hsv
    assert found is sys.modules["colorsys"].rgb_to_hsv
    assert vars(package)["rgb_to_hsv"] is found


def test_what_is_not_exported_is_not_there(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'lazy_package' has no attribute 'rgb_to_yiq'"):
        package.rgb_to_yiq  # noqa: B018
    assert not hasattr(package, "rgb_to_hls")
