"""The same examples each time, however busy the machine; ``pytest --hypothesis-profile=default`` looks for new ones."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nbdtun", derandomize=True, deadline=None)
settings.load_profile("nbdtun")
