"""What tests of the store share: on SQLite a file, so that threads and processes meet as they do in earnest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connection


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    database = settings.DATABASES["default"]
    sqlite = database["ENGINE"].endswith("sqlite3")
    name = str(settings.DATA_DIR / f"test-{worker}.sqlite3") if sqlite else f"test_redshank_{worker}"
    database.setdefault("TEST", {})["NAME"] = name


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Tests that commit are cleaned up by deleting all rows, which the audit log's triggers refuse on SQLite."""
    if connection.vendor != "sqlite":
        yield
        return
    flush = connection.ops.sql_flush

    def past_the_triggers(*args: Any, **kwargs: Any) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
        drop = [f'DROP TRIGGER "{name}"' for name, _ in triggers]
        return [*drop, *flush(*args, **kwargs), *(sql for _, sql in triggers)]

    connection.ops.sql_flush = past_the_triggers  # type: ignore[method-assign]
    yield
    connection.ops.sql_flush = flush  # type: ignore[method-assign]
