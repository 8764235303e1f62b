"""``python -m nbdtun`` is the ``nbdtun`` command."""

from nbdtun.cli import script

script()
