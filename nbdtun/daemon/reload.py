"""
Reload: a running daemon reads its command line and its configuration file again, and takes what can change meanwhile.

The options say of themselves whether a running daemon takes a new value (``live`` in :mod:`nbdtun.config.option`). The others keep the
values with which it was started, and are named each time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.python.failure import Failure

from nbdtun.config.options import LOG_LEVEL
from nbdtun.daemon.options import DeclaredOptions
from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.logs import make_logger


class Reload:
    """
    Reloads a daemon with ``options``; ``take`` gives new settings to what runs. ``set_level`` changes the least level of its log, where it
    has one of its own. ``whole`` reloads all processes of the daemon, where there may be others, and returns which have ``missed`` it.
    """

    log = make_logger()

    def __init__(self, options: DeclaredOptions, take: Callable[[Any], Any]) -> None:
        self._options = options
        self._take = take
        self._turns: Final = DeferredLock()
        self.set_level: Callable[[str], None] | None = None
        self.whole: Callable[[], Coroutine[Any, Any, dict[str, Any]]] = self

    @property
    def possible(self) -> bool:
        """Whether there is a file."""
        return bool(self._options.file)

    async def __call__(self) -> dict[str, Any]:
        """
        Read the file again; return the ``file``, and the names of the options that were ``taken``, and that were ``left``.

        :raise ConfigError: there is none, or it cannot be used; then nothing has changed.
        :raise NbdtunError: what runs takes no changes now.
        """
        told: dict[str, Any] = await self._turns.run(lambda: Deferred.fromCoroutine(self._reload()))
        return told

    async def _reload(self) -> dict[str, Any]:
        if not self.possible:
            raise ConfigError("this daemon was started without a configuration file", "restart it to change its options")
        newer = self._options.again()
        changed = self._options.changed(newer)
        taken = [name for name, live in changed.items() if live and (name != LOG_LEVEL.name or self.set_level is not None)]
        left = [name for name in changed if name not in taken]
        merged = self._merged(newer, taken, left)
        await maybeDeferred(self._take, merged.settings)
        if self.set_level is not None and LOG_LEVEL.name in taken:
            self.set_level(merged.value(LOG_LEVEL))
        self._options = merged
        return self._told(taken, left)

    def _merged(self, newer: DeclaredOptions, taken: list[str], left: list[str]) -> DeclaredOptions:
        try:
            return self._options.merged(newer, taken)
        except ConfigError as error:
            if not left:
                raise
            raise ConfigError(error.what, f"it is so with the values that a running daemon keeps, of {', '.join(left)}") from None

    def _told(self, taken: list[str], left: list[str]) -> dict[str, Any]:
        file = self._options.file.path
        self.log.info("{file}: took {taken}", file=file, taken=", ".join(taken) or "no changes")
        if left:
            self.log.warn("{file}: {left}: restart the daemon to change that", file=file, left=", ".join(left))
        return {"file": file, "taken": taken, "left": left}

    def at_signal(self) -> None:
        """Reload all, and log a failure."""
        Deferred.fromCoroutine(self.whole()).addCallbacks(self._missed, self._failed)

    def _missed(self, told: Mapping[str, Any]) -> None:
        for line in told.get("missed", []):
            self.log.warn("{line}", line=line)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, NbdtunError):
            self.log.error("nothing was reloaded: {reason}", reason=failure.value.line, code=failure.value.code)
        else:
            self.log.failure("the options could not be reloaded", failure=failure)
