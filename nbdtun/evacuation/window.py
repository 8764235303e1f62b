"""The hours in which a guest may switch over, of the host's own clock: ``22:00-05:00``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from nbdtun.errors import ConfigError

_FORM: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_DAY: Final = 24 * 60


@frozen
class Window:
    """From the minute ``begin`` of the day to the minute ``end``, which may be of the next day."""

    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """
        Read ``22:00-05:00``.

        :raise ConfigError: it has not that form, or is empty.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ConfigError(f"{text!r} does not have the form HH:MM-HH:MM, such as 22:00-05:00")
        hours = [int(each) for each in found.groups()]
        begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if begin == end:
            raise ConfigError(f"{text!r} is no time at all", "leave --window out for the whole day")
        return cls(begin, end)

    def __str__(self) -> str:
        return f"{self.begin // 60:02}:{self.begin % 60:02}-{self.end // 60:02}:{self.end % 60:02}"

    def is_open(self, now: datetime) -> bool:
        """Whether it is open at the local time ``now``."""
        minute = now.hour * 60 + now.minute
        return self.begin <= minute < self.end if self.begin < self.end else not self.end <= minute < self.begin

    def opens(self, now: datetime) -> datetime:
        """The next minute at which it opens; ``now`` if it is open."""
        if self.is_open(now):
            return now
        wait = (self.begin - now.hour * 60 - now.minute) % _DAY
        return now.replace(second=0, microsecond=0) + timedelta(minutes=wait)
