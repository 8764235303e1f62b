"""On the path of a daemon or a command, this makes its timeouts short, as an embedding program could: the product has no switch for it.

With the limits that it has of itself, each cell with a stopped QEMU would last for minutes.
"""

from nbdtun.migration.settings import StepTimeouts

defaults = StepTimeouts.__init__.__kwdefaults__
assert defaults is not None
defaults.update(command=3.0, connect=3.0, answer=12.0, drain=8.0, complete=8.0, undo=4.0, farewell=3.0, settle=5.0)
