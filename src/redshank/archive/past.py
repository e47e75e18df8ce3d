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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redshank.core import Problem, Verdict
from redshank.core.events import FUTURE_TOLERANCE
from redshank.text import fold, normalize_link

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
        ("created_at", pa.timestamp("us")),
        ("followers", pa.int64()),
        ("language", pa.string()),
        ("links", pa.list_(pa.string())),
        ("domains", pa.list_(pa.string())),
        ("text", pa.string()),
        ("handle", pa.string()),
        ("name", pa.string()),
        ("bio", pa.string()),
        ("body", pa.string()),
        ("verdict", pa.string()),
    ]
)
"""Columns of every file. Times are UTC without a zone; `rules` fired live, `shadow` fired in the shadow; `body` and
`verdict` are the event and the verdict as JSON, `verdict` empty where nothing was seen.

What a search asks for most stands beside the body, so that it need not be read: of the account when it came into being
and its `followers`; of the post its `language`, its `links` and, for each of them, its domain (null where it is no link);
and, folded, the post's `text` and the account's `handle`, `name` and `bio`. Null is what the event does not have."""
LAYOUT = 2
"""The layout that is written. Layout 1 had no columns between `banks` and `body`; its files are read all their time."""
OLD_SCHEMA = pa.schema([SCHEMA.field(at) for at in (*range(12), *range(len(SCHEMA) - 2, len(SCHEMA)))])
"""The columns of layout 1."""
MOST_FOLLOWERS = 2**63 - 1
ROW_GROUP = 20_000
_QUICK = ("text",)
"""What searches read most is packed for speed, the rest for size."""
KINDS = "kinds"
"""The key, in a file's metadata, of the kinds of event in it: the type up to its first dot."""
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


class Past:
    """The files below `root`: `network=NET/day=2026-07-01/000000000012-2.parquet`, by batch and layout."""

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
            path = self.root / f"network={network}" / f"day={day.isoformat()}" / f"{batch:012d}-{LAYOUT}.parquet"
            for other in path.parent.glob(f"{batch:012d}*.parquet"):
                if other != path:  # The same batch, half written before an update.
                    other.unlink()
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
        """A DuckDB with the events of `files` as the view `events`; its columns are those that every layout has."""
        import duckdb

        database = duckdb.connect(":memory:")
        if not files:
            database.register("events", OLD_SCHEMA.empty_table())
            return database
        names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
        columns = ", ".join(f'"{name}"' for name in OLD_SCHEMA.names)
        database.execute(
            f"CREATE VIEW events AS SELECT {columns} "  # noqa: S608
            f"FROM read_parquet([{names}], hive_partitioning=false, union_by_name=true)"
        )
        return database


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
        **_columns_of([_look(event.body) for event in ordered]),
    }
    columns = [
        pa.array(derived.get(field.name) or [getattr(event, field.name) for event in ordered], field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def _rules(verdict: Verdict | None, *, live: bool) -> list[str]:
    return [fired.rule for fired in verdict.fired if fired.live is live] if verdict else []


class _LookAccount(msgspec.Struct, frozen=True, gc=False):
    handle: str | None = None
    display_name: str | None = None
    bio: str | None = None
    created_at: datetime | None = None
    followers: int | None = None


class _LookPost(msgspec.Struct, frozen=True, gc=False):
    text: str = ""
    language: str | None = None
    links: tuple[str, ...] = ()


class _Look(msgspec.Struct, frozen=True, gc=False):
    """What of an event stands in columns of its own."""

    account: _LookAccount | None = None
    post: _LookPost | None = None


_look = msgspec.json.Decoder(_Look).decode
_NOBODY, _NOTHING = _LookAccount(), _LookPost()


def _columns_of(looks: Sequence[_Look]) -> dict[str, list[Any]]:
    accounts = [look.account or _NOBODY for look in looks]
    return {
        "created_at": [_created(account.created_at) for account in accounts],
        "followers": [None if one.followers is None else min(one.followers, MOST_FOLLOWERS) for one in accounts],
        "handle": [_folded(account.handle) for account in accounts],
        "name": [_folded(account.display_name) for account in accounts],
        "bio": [_folded(account.bio) for account in accounts],
        "text": [None if look.post is None else fold(look.post.text).text for look in looks],
        "language": [(look.post or _NOTHING).language for look in looks],
        "links": [None if look.post is None else look.post.links for look in looks],
        "domains": [None if look.post is None else [domain_of(link) for link in look.post.links] for look in looks],
    }


def _created(at: datetime | None) -> datetime | None:
    return _naive(at) if at and at.tzinfo else None  # Nobody knows when a time without a zone is.


def _folded(text: str | None) -> str | None:
    return None if text is None else fold(text).text


@lru_cache(100_000)
def domain_of(link: str) -> str | None:
    """The host of a link, in lower case and without `www.`; None where it is no link."""
    found = normalize_link(link)
    return found.host.removeprefix("www.") if found else None


def layout_of(path: Path) -> int:
    """The layout of a file of the past, as its name says."""
    return int(path.stem.partition("-")[2] or 1)


def batch_of(path: Path) -> int:
    """The batch that a file of the past is part of."""
    return int(path.stem.partition("-")[0])


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)


def _put(path: Path, table: pa.Table) -> None:
    """Write a file of the past, with the kinds of its events in its metadata. The lock is held."""
    kinds = sorted(set(_kinds_of(table["type"]).unique().to_pylist()))
    put_table(
        path, table.cast(table.schema.with_metadata({KINDS: json.dumps(kinds)})), row_group=ROW_GROUP, quick=_QUICK
    )


def put_table(path: Path, table: pa.Table, *, row_group: int, quick: Collection[str] = ()) -> None:
    """Write a Parquet file so that it is there whole or not at all. The caller alone writes in its folder.

    The columns `quick` are packed less and read sooner than the others.
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
            packed: Any = "zstd"
            if quick:
                packed = {_leaf(field): "lz4" if field.name in quick else "zstd" for field in table.schema}
            pq.write_table(table, file, compression=packed, row_group_size=row_group, write_page_index=True)
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


def _leaf(field: pa.Field) -> str:
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


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
