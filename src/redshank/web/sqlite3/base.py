"""A connection to SQLite whose transactions begin as soon as the one before them ends.

The one idea: SQLite lets a writer who waits sleep a tenth of a second between two looks. Where somebody writes transaction
after transaction, as a long import does, it may look just when there is no turn for it, again and again; who looks every few
milliseconds meets the first gap.
"""

from __future__ import annotations

import time

from django.db import OperationalError
from django.db.backends.sqlite3 import base

LOOK = 0.004
"""Seconds between two looks whether nobody writes."""
BUSY = 5  # SQLITE_BUSY, the low byte of its kinds (https://www.sqlite.org/rescode.html).


class DatabaseWrapper(base.DatabaseWrapper):
    """As Django's, but for how it waits for its turn."""

    def _start_transaction_under_autocommit(self) -> None:
        """Raises OperationalError where there was no turn within the seconds that the option `timeout` says."""
        (patience,) = self.connection.execute("PRAGMA busy_timeout").fetchone()
        until = time.monotonic() + patience / 1000
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    super()._start_transaction_under_autocommit()  # type: ignore[misc]  # Its stubs lack it.
                except OperationalError as error:
                    code = getattr(error.__cause__, "sqlite_errorcode", 0)
                    if code & 0xFF != BUSY or time.monotonic() > until:
                        raise
                    time.sleep(LOOK)
                else:
                    return
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {patience}")
