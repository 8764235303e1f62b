"""
Loggers, for every module that has something to say.

They are txaio's for Twisted, asked for by name. ``txaio.use_twisted()`` would choose the framework of the whole process; that is not for
a library to do, since its application may use txaio with asyncio.
"""

from txaio.tx import make_logger

__all__ = ["make_logger"]
