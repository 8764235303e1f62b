"""How Sphinx makes the documentation: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import attrs

from nbdtun import __version__
from nbdtun.config import MigrationSettings, StepTimeouts

project = "nbdtun"
author = "The nbdtun authors"
copyright = f"2026, {author}"
version = release = __version__

extensions = ["sphinx.ext.autodoc", "commands", "findings", "matrix", "options", "states", "waits"]
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = f"nbdtun {version}"
html_show_sourcelink = False
smartquotes = False  # what is copied from a page must be what is typed

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}

# |reconnect_delay|, |limit_answer|...: figures that pages take from the program.
_settings = {"reconnect_delay": MigrationSettings(vm="").reconnect_delay}
_settings |= {f"limit_{name}": seconds for name, seconds in attrs.asdict(StepTimeouts()).items()}
rst_prolog = "".join(f".. |{name}| replace:: {seconds:g} s\n" for name, seconds in _settings.items())
