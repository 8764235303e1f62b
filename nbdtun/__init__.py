"""Live migration of running virtual machines with their disks, through one authenticated, encrypted port."""

__version__ = "0.1.0"
