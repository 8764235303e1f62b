"""The matrix: each fault in each phase of a migration, and the one end that it has.

`expectations.py` is the table, from which `docs/matrix.rst` is made as well; `faults.py` and `phases.py` know how, `verdict.py` what
must be true afterwards.
"""
