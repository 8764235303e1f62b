"""Live migration of running virtual machines with their disks, through one authenticated, encrypted port."""

import txaio

txaio.use_twisted()  # before any module asks for a logger; it imports no reactor

__version__ = "0.1.0"
