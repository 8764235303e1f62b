from __future__ import annotations

from tests.tls.stage.fixtures import directory, pair, talk, tls_dir

__all__ = ["directory", "pair", "talk", "tls_dir"]
