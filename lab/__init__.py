"""The lab: real guests, disks, QEMUs, daemons and a cable to pull.

The demo, the integration tests and the benchmark share it. It knows the
product only as processes that it starts; README.md says what each file is for.
"""
