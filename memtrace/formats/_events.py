"""Events that are kept as texts in a table of a SQLite database, as Umpire's database store does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.errors import InputError

if TYPE_CHECKING:
    from memtrace.trace.source import Source

MAGIC = b"SQLite format 3\0"
TABLE = b"CREATE TABLE EVENTS"
MOST_TEXT = 1 << 20  # bytes of one event
STEPS, MOST_TURNS = 1_000_000, 10_000  # of SQLite's machine: a damaged file must not keep it going


def texts(source: Source) -> Iterator[bytes]:
    """The events in the order in which they were written. Raises InputError where the file is no such database."""
    left = MOST_TURNS

    def turn() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with source.seekable() as path:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            database.text_factory = bytes
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT)
            database.set_progress_handler(turn, STEPS)
            kinds = database.execute("SELECT type FROM sqlite_master WHERE name = 'EVENTS'").fetchall()
            if kinds != [(b"table",)]:
                raise InputError(f"{source.label}: the database has no table EVENTS")
            for (text,) in database.execute("SELECT EVENT FROM EVENTS ORDER BY rowid"):
                yield text if isinstance(text, bytes) else str(text).encode()
        except sqlite3.Error as error:
            raise InputError(f"{source.label}: SQLite cannot read it: {error}\ntry: make or fetch the file again") from error
        finally:
            database.close()
