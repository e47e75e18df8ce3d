"""The past: every walked event with its verdict, in Parquet files by network and day, for search and backtest.

A file is written beside its place, synced, and renamed into it, so a reader sees all of it or none; whoever changes
files holds one lock. A batch of events always gives files of the same names, so writing a batch again changes nothing.
Days are those of receipt (UTC). No Django here: what is written comes from whoever calls.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redshank.core import Problem, Verdict
from redshank.core.events import FUTURE_TOLERANCE

if TYPE_CHECKING:
    import duckdb

SCHEMA = pa.schema(
    [
        ("network", pa.string()),
        ("id", pa.string()),
        ("type", pa.string()),
        ("at", pa.timestamp("us")),
        ("received_at", pa.timestamp("us")),
        ("account", pa.string()),
        ("followed", pa.string()),
        ("subject_kind", pa.string()),
        ("subject_id", pa.string()),
        ("rules", pa.list_(pa.string())),
        ("shadow", pa.list_(pa.string())),
        ("banks", pa.list_(pa.string())),
        ("body", pa.string()),
        ("verdict", pa.string()),
    ]
)
"""Columns of every file. Times are UTC without a zone; `rules` fired live, `shadow` fired in the shadow; `body` and
`verdict` are the event and the verdict as JSON, `verdict` empty where nothing was seen."""
ROW_GROUP = 20_000
KINDS = "kinds"
"""The key, in a file's metadata, of the kinds of event in it: the type up to its first dot."""
By = Literal["hour", "day", "type", "network", "account", "rule", "shadow", "bank"]
"""What a search can count by."""
_BY: dict[str, str] = {
    "hour": "date_trunc('hour', \"at\")",
    "day": 'CAST("at" AS DATE)',
    "type": "type",
    "network": "network",
    "account": "network || '/' || account",
    "rule": "unnest(rules)",
    "shadow": "unnest(shadow)",
    "bank": "unnest(banks)",
}
assert set(_BY) == set(get_args(By))
_verdict_decoder = msgspec.json.Decoder(Verdict)


class PastEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event as the past keeps it. `body` and `verdict` are JSON; times are aware."""

    network: str
    id: str
    type: str
    at: datetime
    received_at: datetime
    account: str = ""
    followed: str = ""
    subject_kind: str = ""
    subject_id: str = ""
    body: str
    verdict: str = ""


class Count(msgspec.Struct, frozen=True):
    """One line of a search: a value, and how many events have it."""

    value: str
    events: int


class Past:
    """The files below `root`: `network=NET/day=2026-07-01/000000000012.parquet`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by whoever changes files, on whatever machine shares the disk; it ends with its process."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, batch: int, events: Iterable[PastEvent]) -> list[Path]:
        """Write the events of a batch; they are on disk when this returns. The caller holds the lock."""
        parts: dict[tuple[str, date], list[PastEvent]] = {}
        for event in events:
            parts.setdefault((event.network, event.received_at.astimezone(UTC).date()), []).append(event)
        written = []
        for (network, day), part in sorted(parts.items()):
            path = self.root / f"network={network}" / f"day={day.isoformat()}" / f"{batch:012d}.parquet"
            _put(path, table_of(part))
            written.append(path)
        return written

    def files(self, *, network: str | None = None, since: datetime | None = None) -> list[Path]:
        """The files that may hold events of `network`, and from `since` on, by day."""
        first = (since.astimezone(UTC) - FUTURE_TOLERANCE).date().isoformat() if since else ""
        found = self.root.glob(f"network={network or '*'}/day=*/*.parquet")
        kept = [path for path in found if path.parent.name.removeprefix("day=") >= first]
        return sorted(kept, key=lambda path: (path.parent.name, path.parent.parent.name, path.name))

    def read(self, path: Path, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
        """The rows of one file, in batches; nothing where it is gone by now."""
        with suppress(FileNotFoundError), pq.ParquetFile(path) as file:
            yield from file.iter_batches(ROW_GROUP, columns=list(columns))

    def erase(self, network: str, account: str) -> int:
        """Take everything about one account out of the files; give how many events went. The caller holds the lock.

        That is what the account did, what was reported of it, and who followed it. Doing it again changes nothing.
        """

        def is_about(table: pa.Table) -> pa.ChunkedArray:
            subject = pc.and_(pc.equal(table["subject_kind"], "account"), pc.equal(table["subject_id"], account))
            other = pc.or_(pc.equal(table["followed"], account), subject)
            return pc.or_(pc.equal(table["account"], account), other)

        columns = ["account", "followed", "subject_kind", "subject_id"]
        return sum(_remove(path, columns, is_about) for path in self.files(network=network))

    def forget(self, now: datetime, keep_days: Mapping[str, int]) -> int:
        """Take out events that came too long ago; give how many. The caller holds the lock.

        `keep_days` has, for each kind of event (account, post, …), how many days it is kept; kinds that it lacks stay.
        """
        today = now.astimezone(UTC).date()
        gone = 0
        for path in self.files():
            age = (today - date.fromisoformat(path.parent.name.removeprefix("day="))).days
            old = {kind for kind, days in keep_days.items() if age > days}
            if old & _kinds(path):
                types = pa.array(sorted(old))

                def is_old(table: pa.Table, kinds: pa.Array = types) -> pa.ChunkedArray:
                    return pc.is_in(_kinds_of(table["type"]), value_set=kinds)

                gone += _remove(path, ["type"], is_old)
        return gone

    def open(self, files: Collection[Path]) -> duckdb.DuckDBPyConnection:
        """A DuckDB with the events of `files` as the view `events`, its columns those of `SCHEMA`."""
        import duckdb

        database = duckdb.connect(":memory:")
        if not files:
            database.register("events", SCHEMA.empty_table())
            return database
        names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
        database.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet([{names}], hive_partitioning=false)")  # noqa: S608
        return database

    def count(
        self,
        by: By,
        *,
        network: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type_: str | None = None,
        account: str | None = None,
        rule: str | None = None,
        bank: str | None = None,
        limit: int = 50,
    ) -> list[Count]:
        """How many events of the past meet all of what is given, by hour and day in time's order, else the most first.

        `since` and `until` bound the event's own time, `until` excluded. `rule` fired, live or in the shadow.
        """
        import duckdb

        wheres, values = ["true"], list[Any]()
        for condition, value in (
            ("network = ?", network),
            ('"at" >= ?', since and _naive(since)),
            ('"at" < ?', until and _naive(until)),
            ("type = ?", type_),
            ("account = ?", account),
            ("list_contains(banks, ?)", bank),
        ):
            if value is not None:
                wheres.append(condition)
                values.append(value)
        if rule is not None:
            wheres.append("(list_contains(rules, ?) OR list_contains(shadow, ?))")
            values += [rule, rule]
        order = "1" if by in ("hour", "day") else "2 DESC, 1"
        query = (
            f"SELECT value, count(*) AS events FROM (SELECT {_BY[by]} AS value FROM events WHERE {' AND '.join(wheres)}) "  # noqa: S608
            f"GROUP BY 1 ORDER BY {order} LIMIT {int(limit)}"
        )
        for tries in range(3):
            try:
                with self.open(self.files(network=network, since=since)) as database:
                    rows = database.execute(query, values).fetchall()
                return [Count(str(value), events) for value, events in rows]
            except duckdb.IOException:  # A file went between listing and reading: retention, or an erasure.
                if tries == 2:
                    raise
        raise AssertionError


def table_of(events: Collection[PastEvent]) -> pa.Table:
    """The events as a table of `SCHEMA`, by their time."""
    ordered = sorted(events, key=lambda event: event.at)
    verdicts = [_verdict_decoder.decode(event.verdict) if event.verdict else None for event in ordered]
    derived: dict[str, list[Any]] = {
        "at": [_naive(event.at) for event in ordered],
        "received_at": [_naive(event.received_at) for event in ordered],
        "rules": [_rules(verdict, live=True) for verdict in verdicts],
        "shadow": [_rules(verdict, live=False) for verdict in verdicts],
        "banks": [
            sorted({finding.match.bank for finding in verdict.findings if finding.match}) if verdict else []
            for verdict in verdicts
        ],
    }
    columns = [
        pa.array(derived.get(field.name) or [getattr(event, field.name) for event in ordered], field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def _rules(verdict: Verdict | None, *, live: bool) -> list[str]:
    return [fired.rule for fired in verdict.fired if fired.live is live] if verdict else []


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)


def _put(path: Path, table: pa.Table) -> None:
    """Write a file of the past, with the kinds of its events in its metadata. The lock is held."""
    kinds = sorted(set(_kinds_of(table["type"]).unique().to_pylist()))
    put_table(path, table.cast(table.schema.with_metadata({KINDS: json.dumps(kinds)})), row_group=ROW_GROUP)


def put_table(path: Path, table: pa.Table, *, row_group: int) -> None:
    """Write a Parquet file so that it is there whole or not at all. The caller alone writes in its folder.

    Raises `Problem` where the disk takes no more.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in list(path.parents)[1:4]:  # A folder that is new must be on disk, too.
            _sync(folder)
    for left in path.parent.glob(".new-*"):  # Of a writer that was killed: nobody writes now but us.
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd", row_group_size=row_group, write_page_index=True)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        _sync(path.parent)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise Problem(f"the past could not be written: {error.strerror or error}", where=str(path)) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _remove(path: Path, columns: list[str], is_bad: Callable[[pa.Table], pa.ChunkedArray]) -> int:
    """Take rows out of one file, and the file away where none is left; give how many rows went."""
    bad = is_bad(pq.read_table(path, columns=columns, partitioning=None))
    gone = int(pc.sum(bad).as_py() or 0)
    if not gone:
        return 0
    if gone == len(bad):
        path.unlink()
        _sync(path.parent)
        return gone
    kept = pq.read_table(path, partitioning=None).filter(pc.invert(bad))
    _put(path, kept.replace_schema_metadata(None))
    return gone


def _kinds(path: Path) -> set[str]:
    found = pq.read_schema(path).metadata or {}
    return set(json.loads(found.get(KINDS.encode(), b"[]")))


def _kinds_of(types: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_element(pc.split_pattern(types, ".", max_splits=1), 0)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
