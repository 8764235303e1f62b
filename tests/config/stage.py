"""What the tests of the settings have in common."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.errors import ConfigError


def refused(make: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)
