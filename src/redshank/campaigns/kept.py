"""What accounts shared, kept for a while: packed in the walk, then in Parquet files by day, from which searches read.

The walk only packs what an event says; forming links and sketching texts is left to the worker that writes the files. A file
bears the number of its batch and each row that of its block, so that writing again changes nothing and nothing counts twice
that stands both in a file and in the store. Days are those of the events' own time (UTC): one that comes late lands in its place.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redshank.archive.past import put_table
from redshank.core import Event, FollowCreated, Media, MediaUploaded, PostCreated, PostUpdated
from redshank.media import ImageHashes, MediaHashes
from redshank.text import find_links, normalize_link

MOST = 20
"""Links, hashtags and media of one post that are looked at."""
LONGEST = 4_000
SHORTEST = 24
ROW_GROUP = 100_000
SCHEMA = pa.schema(
    [
        ("block", pa.int64()),
        ("at", pa.float64()),
        ("network", pa.string()),
        ("account", pa.string()),
        ("post", pa.string()),
        ("link", pa.list_(pa.string())),
        ("media", pa.list_(pa.string())),
        ("text", pa.binary()),
        ("hashtags", pa.list_(pa.string())),
        ("follow", pa.string()),
    ]
)
"""Columns of every file. `at` is in seconds since 1970 UTC; links are in one form; a text is its sketch; `follow` is
`network/account`."""


class Shared(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event shared. `at` is in seconds since 1970 UTC; texts and links as they came."""

    network: str
    account: str
    post: str
    at: float
    text: str = ""
    links: tuple[str, ...] = ()
    hashtags: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    followed: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Shared])


def pack(shared: Sequence[Shared]) -> bytes:
    """A block of what was shared, as it is stored."""
    return _encoder.encode(shared)


def unpack(body: bytes) -> list[Shared]:
    """What a block holds."""
    return _decoder.decode(body)


def shared_of(event: Event, hashes: Mapping[str, MediaHashes], *, quality: int) -> Shared | None:
    """What an event shared, `hashes` being those of its media by their id; None where it shared nothing.

    A picture is known by its PDQ hash where that is of the given `quality` (0 to 100) at least, else by its bytes.
    """
    if isinstance(event, FollowCreated):
        followed = f"{event.network}/{event.followed.id}"
        return Shared(event.network, event.account.id, event.id, event.at.timestamp(), followed=followed)
    if isinstance(event, MediaUploaded):
        media = _media([event.media], hashes, quality)
        shared = Shared(event.network, event.account.id, event.media.id, event.at.timestamp(), media=media)
        return shared if media else None
    if not isinstance(event, PostCreated | PostUpdated):
        return None
    post = event.post
    text = post.text[:LONGEST] if len(post.text) >= SHORTEST else ""
    media = _media(post.media, hashes, quality)
    links = post.links[:MOST]
    if not text and "." in post.text:  # Short, but it may be a link.
        links = (*links, *(link for _, _, link in find_links(post.text)))[:MOST]
    if not (text or links or post.hashtags or media):
        return None
    return Shared(
        event.network, event.account.id, post.id, event.at.timestamp(), text, links, post.hashtags[:MOST], media
    )


def _media(media: Iterable[Media], hashes: Mapping[str, MediaHashes], quality: int) -> tuple[str, ...]:
    found = []
    for item in list(media)[:MOST]:
        ours = hashes.get(item.id)
        if isinstance(ours, ImageHashes) and ours.quality >= quality:
            found.append(f"pdq:{ours.pdq}")
        elif ours is not None and ours.sha256:
            found.append(f"sha256:{ours.sha256}")
        elif ours is None and item.pdq:
            found.append(f"pdq:{item.pdq.lower()}")
        elif ours is None and item.sha256:
            found.append(f"sha256:{item.sha256.lower()}")
    return tuple(found)


def table_of(blocks: Iterable[tuple[int, bytes]]) -> pa.Table:
    """The rows of blocks, as (number, body), as a table of `SCHEMA`."""
    from redshank.campaigns.texts import sketched

    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for number, body in blocks:
        for one in unpack(body):
            told = [*one.links, *(link for _, _, link in find_links(one.text))] if one.text else one.links
            formed = (normalize_link(link) for link in dict.fromkeys(told[:MOST]))
            row = (
                number, one.at, one.network, one.account, f"{one.network}/{one.post}",
                [link.url for link in formed if link], one.media, sketched(one.text) if one.text else None,
                one.hashtags, one.followed or None,
            )  # fmt: skip
            for name, value in zip(SCHEMA.names, row, strict=True):
                columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)


def day_of(seconds: float) -> date:
    """The day (UTC) of a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).date()


class ShareFiles:
    """The files below `root`: `day=2026-07-01/000000000012.parquet`, numbered by batch."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def lock(self, name: str = "lock", *, wait: bool = True) -> Iterator[bool]:
        """Held by whoever changes files, or (under another name) whoever searches; it ends with its process.

        Gives whether it is held: always, unless it does not `wait`.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / name).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def write(self, batch: int, table: pa.Table) -> dict[date, int]:
        """Write a batch, a file for each day in it; give how many rows each day has. The caller holds the lock."""
        days = pc.floor(pc.divide(table["at"], 86_400.0)).cast(pa.int64())
        rows: dict[date, int] = {}
        for number in sorted(set(days.to_pylist())):
            day = day_of(number * 86_400)
            part = table.filter(pc.equal(days, number))
            put_table(self.root / f"day={day.isoformat()}" / f"{batch:012d}.parquet", part, row_group=ROW_GROUP)
            rows[day] = len(part)
        return rows

    def days(self) -> list[date]:
        """The days there are files of."""
        return sorted(date.fromisoformat(path.name.removeprefix("day=")) for path in self.root.glob("day=*"))

    def read(self, since: datetime, until: datetime) -> pa.Table:
        """The rows of the days from that of `since` to that of `until`."""
        first, last = since.astimezone(UTC).date(), until.astimezone(UTC).date()
        tables = [SCHEMA.empty_table()]
        for day in self.days():
            if first <= day <= last:
                for path in sorted((self.root / f"day={day.isoformat()}").glob("*.parquet")):
                    try:
                        tables.append(pq.read_table(path, partitioning=None).cast(SCHEMA))
                    except FileNotFoundError:  # It went meanwhile: retention, or an erasure.
                        continue
        return pa.concat_tables(tables)

    def erase(self, accounts: Collection[tuple[str, str]]) -> int:
        """Take what these accounts, as (network, id), shared out of the files, and who followed them; give how many rows.

        The caller holds the lock. Doing it again changes nothing.
        """
        names = pa.array([f"{network}/{account}" for network, account in accounts], pa.string())
        gone = 0
        for path in self.root.glob("day=*/*.parquet"):
            table = pq.read_table(path, partitioning=None)
            whole = pc.binary_join_element_wise(table["network"], table["account"], "/")
            bad = pc.or_(
                pc.is_in(whole, value_set=names), pc.fill_null(pc.is_in(table["follow"], value_set=names), False)
            )
            count = int(pc.sum(bad).as_py() or 0)
            if count:
                put_table(path, table.filter(pc.invert(bad)), row_group=ROW_GROUP)
                gone += count
        return gone

    def forget(self, before: date) -> int:
        """Delete the files of days before that one; give how many days. The caller holds the lock."""
        gone = 0
        for day in self.days():
            if day < before:
                folder = self.root / f"day={day.isoformat()}"
                for path in folder.iterdir():
                    path.unlink(missing_ok=True)
                folder.rmdir()
                gone += 1
        return gone


def without(blocks: Iterable[tuple[int, bytes]], accounts: Collection[tuple[str, str]]) -> dict[int, bytes]:
    """The blocks that hold something of these accounts, or who followed them, as they are without it."""
    names = {f"{network}/{account}" for network, account in accounts}
    changed = {}
    for number, body in blocks:
        had = unpack(body)
        left = [one for one in had if f"{one.network}/{one.account}" not in names and one.followed not in names]
        if len(left) < len(had):
            changed[number] = pack(left)
    return changed


def midnight(day: date) -> datetime:
    """The beginning of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def days_before(day: date, count: int) -> date:
    """The day `count` days before."""
    return day - timedelta(days=count)
