from __future__ import annotations

from tests.service.conftest import base

__all__ = ["base"]
