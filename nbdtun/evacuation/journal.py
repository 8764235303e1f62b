"""
The journal of an evacuation: a database of SQLite's, written before each step, so that the process may end at any moment.

It has the terms, one entry for each VM, and the failures in a row of the destinations. ``steps`` only tell an operator what happened. A
change is on the disk when its call returns (``synchronous=FULL``); one that cannot be written, on a full disk, is an error, and its step is
not taken. The rollback journal of SQLite needs no other file to stay beside it after a crash, as its write-ahead log would.

One process has the journal at a time: it holds a lock on a file beside it. SQLite's own lock ends with each change.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import Final, Self, TypeVar

from nbdtun.errors import ConfigError, JournalFailed, NotMigratable
from nbdtun.evacuation.retries import Strikes
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry
from nbdtun.ownership.files import is_locked, make_folder, remove_file
from nbdtun.typed import as_json, of_json

T = TypeVar("T")

_OTHER_RELEASE: Final = "the release that began the evacuation can end it"

#: The form of the tables; a later one has another number. A table that is only new has not: an earlier release passes over it.
FORM: Final = 1
_TABLES: Final = {
    "evacuation": "form INTEGER NOT NULL, began REAL NOT NULL, terms TEXT NOT NULL",
    "entry": "vm TEXT PRIMARY KEY, told TEXT NOT NULL",
    "step": "at REAL NOT NULL, vm TEXT NOT NULL, what TEXT NOT NULL",
    "strikes": "told TEXT NOT NULL",
}
_ANOTHER: Final = "choose another with --journal"


class Journal:
    """The journal at ``path``, which this process has until :meth:`close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        self._database: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"<Journal {self.path} {'open' if self._database else 'closed'}>"

    @property
    def files(self) -> Path:
        """The directory of the processes' files: ``VM.ATTEMPT.json`` and ``VM.ATTEMPT.log``."""
        return self.path.with_suffix(".d")

    def open(self) -> Self:
        """
        Take it; it may be new.

        :raise NotMigratable: another process has it.
        :raise JournalFailed: it cannot be read or made, or is something else.
        """
        try:
            make_folder(self.files)
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise NotMigratable(f"{self.path}: another `nbdtun evacuate` has this journal", "`nbdtun status` shows it") from None
        except OSError as error:
            self.close()
            raise self._unusable(error) from None
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def _connect(self) -> None:
        with self._asking(_ANOTHER):
            self._database = sqlite3.connect(self.path, isolation_level=None)
            self._database.execute("PRAGMA synchronous=FULL")
            made = (f"CREATE TABLE IF NOT EXISTS {name} ({columns});" for name, columns in _TABLES.items())
            self._database.executescript(f"BEGIN;{''.join(made)}COMMIT;")

    def peek(self) -> tuple[list[Entry], bool]:
        """
        The entries as they are now, none without an evacuation, and whether a process has the journal; nothing is taken or made.

        It is opened for writing: SQLite ends what a killed process has begun there.

        :raise JournalFailed: they cannot be read.
        """
        try:
            os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return [], self._is_held
        except OSError as error:
            raise self._unusable(error) from None
        try:
            with self._asking():
                self._database = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
                made = self._database.execute("SELECT 1 FROM sqlite_master").fetchone()
            return (self.entries() if made and self.terms() is not None else []), self._is_held
        finally:
            self.close()

    @property
    def _is_held(self) -> bool:
        """Whether another process has it."""
        try:
            return is_locked(self._lock_path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> JournalFailed:
        return JournalFailed(f"the journal {self.path}: {error.strerror}", _ANOTHER)

    @property
    def _lock_path(self) -> Path:
        return self.path.with_suffix(".lock")

    def begin(self, terms: Terms, entries: list[Entry]) -> None:
        """
        Begin an evacuation, in the place of one that is over. The files of its VMs' processes are removed: their numbers begin again, and
        an earlier process has nothing to say of a later one.

        :raise JournalFailed: it cannot be written, or these files cannot be removed.
        """
        self._forget({entry.vm for entry in entries})
        with self._change() as database:
            for table in _TABLES:
                database.execute(f"DELETE FROM {table}")
            database.execute("INSERT INTO evacuation VALUES (?, ?, ?)", (FORM, time(), json.dumps(as_json(terms))))
            for entry in entries:
                _put(database, entry)

    def _forget(self, vms: Collection[str]) -> None:
        for path in [*self.files.iterdir()]:
            vm, _, attempt = path.stem.rpartition(".")
            if vm in vms and attempt.isdecimal() and path.suffix in (".json", ".log"):
                remove_file(f"{path}")
                if path.exists():
                    raise JournalFailed(f"{path}, beside the journal, cannot be removed", _ANOTHER)

    def note(self, entry: Entry, what: str, strikes: Strikes | None = None) -> None:
        """
        Write the entry, and ``what`` happened, in words; and the failures in a row, if they are others now.

        :raise JournalFailed: it cannot be written.
        """
        with self._change() as database:
            _put(database, entry)
            if strikes is not None:
                database.execute("DELETE FROM strikes")
                database.execute("INSERT INTO strikes VALUES (?)", (json.dumps(as_json(strikes)),))
            database.execute("INSERT INTO step VALUES (?, ?, ?)", (time(), entry.vm, what))

    def amend(self, terms: Terms) -> None:
        """
        Put other terms in the place of those that it has.

        :raise JournalFailed: it cannot be written.
        """
        with self._change() as database:
            database.execute("UPDATE evacuation SET terms = ?", (json.dumps(as_json(terms)),))

    def terms(self) -> Terms | None:
        """
        The terms of the evacuation in it; None if there is none.

        :raise JournalFailed: another release has written it, or it is damaged.
        """
        with self._asking():
            found = self._open.execute("SELECT form, terms FROM evacuation").fetchone()
        if found is None:
            return None
        if found[0] != FORM:
            raise JournalFailed(f"the journal {self.path} has form {found[0]}", _OTHER_RELEASE)
        return self._read(Terms, found[1])

    def entries(self) -> list[Entry]:
        """
        The entries of all VMs.

        :raise JournalFailed: they cannot be read.
        """
        with self._asking():
            rows = self._open.execute("SELECT told FROM entry ORDER BY rowid").fetchall()
        return [self._read(Entry, told) for (told,) in rows]

    def strikes(self) -> Strikes:
        """
        The failures in a row of the destinations.

        :raise JournalFailed: they cannot be read.
        """
        with self._asking():
            found = self._open.execute("SELECT told FROM strikes").fetchone()
        return self._read(Strikes, found[0]) if found else Strikes()

    def steps(self) -> list[tuple[float, str, str]]:
        """What happened: the time in seconds since the epoch, the VM, and the words."""
        with self._asking():
            return self._open.execute("SELECT at, vm, what FROM step ORDER BY rowid").fetchall()

    def close(self) -> None:
        """Give it back; safe to repeat."""
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._database is not None
        return self._database

    def _read(self, kind: type[T], told: str) -> T:
        try:
            return of_json(kind, json.loads(told), lenient=True)
        except (ValueError, RecursionError, ConfigError) as odd:
            what = f"the journal {self.path} cannot be understood: {odd}"
            raise JournalFailed(what, _OTHER_RELEASE) from odd

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """All of a change, or none of it."""
        with self._asking():
            self._open.execute("BEGIN IMMEDIATE")
            try:
                yield self._open
                self._open.execute("COMMIT")
            except BaseException:
                if self._open.in_transaction:
                    self._open.execute("ROLLBACK")
                raise

    @contextmanager
    def _asking(self, remedy: str = "once that is fixed, `nbdtun evacuate --resume` goes on") -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalFailed(f"the journal {self.path}: {error}", remedy) from error


def _put(database: sqlite3.Connection, entry: Entry) -> None:
    row = entry.vm, json.dumps(as_json(entry))
    database.execute("INSERT INTO entry VALUES (?, ?) ON CONFLICT (vm) DO UPDATE SET told = excluded.told", row)
