"""Read events that are stored as texts in a table of a SQLite database, as Umpire's database store writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.errors import InputError

if TYPE_CHECKING:
    from memtrace.trace.source import Source

MAGIC = b"SQLite format 3\0"  # first bytes of a SQLite file
TABLE = b"CREATE TABLE EVENTS"  # text of the schema in the first bytes of Umpire's databases
MOST_TEXT = 1 << 20  # upper bound of the bytes of one event
# A read may take MOST_TURNS times STEPS instructions of SQLite's virtual machine: a damaged file must not run for ever.
STEPS, MOST_TURNS = 1_000_000, 10_000


def texts(source: Source) -> Iterator[bytes]:
    """Yield the events in the order in which they were written; raises InputError if the file is not such a database."""
    left = MOST_TURNS

    def turn() -> bool:
        """Return whether SQLite must stop; SQLite calls this after every STEPS instructions."""
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
