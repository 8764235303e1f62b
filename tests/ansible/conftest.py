"""The collection where Ansible finds it: by its name, below `ansible_collections`, here by a link."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(f"{Path(__file__).parent / 'collections'}")
