"""``python -m nbdtun`` is the ``nbdtun`` command."""

import sys

from nbdtun.cli import main

sys.exit(main())
