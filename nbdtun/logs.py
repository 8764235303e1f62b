"""
Loggers, for every module that logs.

They are txaio's loggers for Twisted, imported by name. ``txaio.use_twisted()`` would choose the framework of the whole process. A
library must not do that, since its application may use txaio with asyncio.
"""

from txaio.tx import make_logger

__all__ = ["make_logger"]
