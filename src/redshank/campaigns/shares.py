"""What accounts shared, as columns: who, when, on which network, and which object. Read from Parquet, or made of columns.

Whatever two accounts can have in common becomes an object with a number: a link, a media hash, a near-same text, a set of
hashtags, a follow target. What counts them need not know which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redshank.campaigns.texts import beginning, sketched, text_clusters
from redshank.core import BadInput
from redshank.text import normalize_link

ObjectKind = Literal["link", "media", "text", "hashtags", "follow", "object"]
KINDS: tuple[ObjectKind, ...] = ("link", "media", "text", "hashtags", "follow", "object")
COLUMNS: dict[str, tuple[str, ...]] = {
    "account": ("account", "account_id", "author_id", "user_id"),
    "time": ("time", "ts", "timestamp", "timestamp_share", "at", "created_at"),
    "network": ("network", "platform"),
    "post": ("post", "post_id", "content_id"),
    "source": ("source", "domain", "domain_id"),
    "automated": ("automated", "bot"),
    "link": ("link", "links", "url", "urls", "url_id"),
    "media": ("media", "media_hash", "sha256", "pdq", "phash_id"),
    "text": ("text",),
    "hashtags": ("hashtags", "hashtag", "hashtag_id"),
    "follow": ("followed", "follow"),
    "object": ("object", "object_id"),
}
"""What a column is taken for, by its name. The first name that a file has wins; `--column` says otherwise."""
MOST_ROWS = 20_000_000
LATEST = 253_402_300_800.0
"""The year 10,000, in seconds: a time beyond it is one in milliseconds."""
GROUPS = 16
"""Networks whose accounts are weighed apart; the smaller ones beyond them are weighed as one."""

Ints = npt.NDArray[np.int64]


class Set(msgspec.Struct, frozen=True):
    """Rows that were set aside, and why."""

    reason: str
    rows: int


class Shares(NamedTuple):
    """Columns of shares. A row is one account that shared one object in one post; all codes are dense and from 0.

    `account`, `object`, `post` int64 (n,), `time` float64 (n,) seconds since 1970 UTC; of accounts `names`, `network` int64
    and `automated` bool; of objects `kind` int64 and `source` int64 (-1: not known).
    """

    account: Ints
    object: Ints
    post: Ints
    time: npt.NDArray[np.float64]
    names: Any
    network: Ints
    automated: npt.NDArray[np.bool_]
    networks: tuple[str, ...]
    kind: Ints
    source: Ints
    sources: tuple[str, ...]
    values: tuple[tuple[int, Any], ...]
    rows: int
    aside: tuple[Set, ...]

    def name_of(self, account: int) -> str:
        """The account's id, as its network calls it."""
        return str(self.names[account].as_py())

    def value_of(self, number: int) -> str:
        """The object, as it was shared: an address, a hash, a text's beginning, hashtags."""
        for first, values in reversed(self.values):
            if number >= first:
                return str(values[number - first].as_py())[:500]
        raise IndexError(number)


def read_shares(path: Path, *, columns: Mapping[str, str] | None = None) -> Shares:
    """The shares in a Parquet file. `columns` says which column is what (`{"account": "author"}`), before `COLUMNS` does.

    Raises `BadInput` where it is not Parquet, has no account, time or object, or holds more than 20 million rows.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"cannot be read as Parquet: {error}", where=str(path)) from None
    with file:
        there = file.schema_arrow.names
        wanted = _wanted(there, columns or {}, str(path))
        if file.metadata.num_rows > MOST_ROWS:
            raise BadInput(
                f"holds {file.metadata.num_rows:,} rows; {MOST_ROWS:,} are the most that is read at once",
                where=str(path),
                hint="Give a shorter stretch of time.",
            )
        try:
            table = file.read(columns=list(wanted.values()))
            return shares_of({role: table[name] for role, name in wanted.items()}, where=str(path))
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"cannot be read: {error}", where=str(path)) from None


def shares_of(columns: Mapping[str, Any], *, where: str = "", formed: bool = False) -> Shares:
    """Shares made of Arrow arrays of equal length, by what they are (the keys of `COLUMNS`); `account`, `time` and one kind
    of object must be there.

    Times are timestamps, or numbers: seconds since 1970 UTC. A link, a medium, a hashtag or a follow may be a list; a text may
    be its sketch (bytes). Links that are addresses are brought to one form, unless they are so already (`formed`), and their
    host is their source unless that is told. Rows without an account,
    a usable time or an object are set aside and counted. Raises `BadInput` where none is left.
    """
    n = len(columns["account"])
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("the columns are not of one length")
    account, names = _coded(columns["account"])
    time = _seconds(columns["time"], where)
    network, networks = _coded(columns["network"]) if "network" in columns else (np.zeros(n, np.int64), pa.array([""]))
    post = _coded(columns["post"])[0] if "post" in columns else np.arange(n)
    post = np.where(post < 0, post.max(initial=0) + 1 + np.arange(n), post)
    usable_time = np.isfinite(time) & (time >= 0) & (time < LATEST)
    good = (account >= 0) & (network >= 0) & usable_time
    if n and not usable_time.any():
        raise BadInput(
            "no row has a time between 1970 and 9999",
            where=where,
            hint="Times are seconds since 1970, or timestamps: divide milliseconds by 1,000.",
        )
    missing = (account < 0) | (network < 0)
    identities, dense = np.unique(network[good] * max(1, len(names)) + account[good], return_inverse=True)
    account[good] = dense

    rows: list[Ints] = []
    objects: list[Ints] = []
    kinds: list[Ints] = []
    values: list[tuple[int, Any]] = []
    first = 0
    for number, kind in enumerate(KINDS):
        if kind not in columns:
            continue
        at, codes, shown = _objects(kind, columns[kind], post, formed=formed)
        keep = good[at]
        rows.append(at[keep])
        objects.append(codes[keep] + first)
        kinds.append(np.full(len(shown), number))
        values.append((first, shown))
        first += len(shown)
    row = np.concatenate(rows)
    shared = np.zeros(n, np.bool_)
    shared[row] = True
    aside = (
        Set("without an account or a network", int(missing.sum())),
        Set("without a time between 1970 and 9999", int((~usable_time & ~missing).sum())),
        Set("without anything that was shared", int((good & ~shared).sum())),
    )
    if not len(row):
        raise BadInput("holds nothing that an account shared", where=where)
    share_object = np.concatenate(objects)
    source, sources = _sources(columns, n, post, row, share_object, np.concatenate(kinds), values)
    automated = np.zeros(len(identities), np.bool_)
    if "automated" in columns:
        told = pc.fill_null(_plain(columns["automated"]).cast(pa.bool_()), False)
        said = np.asarray(told.to_numpy(zero_copy_only=False))
        automated[account[said & good]] = True
    return Shares(
        account=account[row], object=share_object, post=np.unique(post[row], return_inverse=True)[1], time=time[row],
        names=names.take(pa.array(identities % max(1, len(names)))), network=identities // max(1, len(names)),
        automated=automated, networks=tuple(str(value) for value in networks.to_pylist()),
        kind=np.concatenate(kinds), source=source, sources=sources, values=tuple(values), rows=n,
        aside=tuple(some for some in aside if some.rows),
    )  # fmt: skip


def _wanted(there: list[str], columns: Mapping[str, str], where: str) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for role, name in columns.items():
        if role not in COLUMNS:
            raise BadInput(f"{role} is nothing that a column can be", hint=f"It is one of {', '.join(COLUMNS)}.")
        if name and name not in there:
            raise BadInput(f"has no column {name}", where=where, hint=f"It has {', '.join(there)}.")
    for role, names in COLUMNS.items():
        if role in columns:
            found = columns[role]
        else:
            found = next((name for name in names if name in there and name not in columns.values()), "")
        if found:
            wanted[role] = found
    for role in ("account", "time"):
        if role not in wanted:
            raise BadInput(
                f"has no column for the {role}",
                where=where,
                hint=f"Name it with --column {role}=NAME, or call it {' or '.join(COLUMNS[role])}. It has {', '.join(there)}.",
            )
    if not any(kind in wanted for kind in KINDS):
        raise BadInput(
            "has no column of something that accounts share",
            where=where,
            hint=f"Name one with --column link=NAME, or media, text, hashtags, follow, object. It has {', '.join(there)}.",
        )
    return wanted


def _plain(array: Any) -> Any:
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _coded(array: Any) -> tuple[Ints, Any]:
    """Codes, -1 for null, not a number, and nothing; and the values they stand for, in the values' order."""
    array = _plain(array)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    elif _is_text(array):
        array = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
    coded = array.dictionary_encode()
    order = pc.array_sort_indices(coded.dictionary).to_numpy(zero_copy_only=False).astype(np.int64)
    place = np.empty(len(order) + 1, np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1
    codes = np.asarray(pc.fill_null(coded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False))
    return place[codes], coded.dictionary.take(pa.array(order))


def _seconds(array: Any, where: str) -> npt.NDArray[np.float64]:
    array = _plain(array)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64()).cast(pa.float64())
        return np.asarray(array.to_numpy(zero_copy_only=False), np.float64) / 1e6
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise BadInput(f"the time is {array.type}", where=where, hint="It must be a timestamp, or seconds since 1970.")
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _objects(kind: str, array: Any, post: Ints, *, formed: bool) -> tuple[Ints, Ints, Any]:
    """Rows that shared something of that kind, what, and the objects' values."""
    array = _plain(array)
    row = np.arange(len(array))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        row = np.asarray(pc.list_parent_indices(array).to_numpy(zero_copy_only=False)).astype(np.int64)
        array = _plain(pc.list_flatten(array))
    codes, values = _coded(array)
    if kind == "text" and (_is_text(values) or pa.types.is_binary(values.type)):
        codes, values = _near_same(codes, values)
    elif kind == "link" and _is_text(values) and not formed:
        codes, values = _one_form(codes, values)
    elif kind == "hashtags":
        return _tag_sets(row, codes, values, post)
    row, codes = row[codes >= 0], codes[codes >= 0]
    order = np.lexsort((codes, row))
    row, codes = row[order], codes[order]
    new = np.ones(len(row), np.bool_)
    new[1:] = (row[1:] != row[:-1]) | (codes[1:] != codes[:-1])
    return row[new], codes[new], values


def _is_text(values: Any) -> bool:
    return bool(pa.types.is_string(values.type) or pa.types.is_large_string(values.type))


def _near_same(codes: Ints, values: Any) -> tuple[Ints, Any]:
    """Texts, or their sketches, with those that are nearly the same as one."""
    often = np.bincount(codes[codes >= 0], minlength=len(values))
    order = np.lexsort((np.arange(len(values)), -often))
    told = values.take(pa.array(order)).to_pylist()
    sketches = [sketched(one) for one in told] if _is_text(values) else told
    stands = text_clusters(sketches)
    leader = np.full(len(values) + 1, -1, np.int64)
    leader[order] = np.where(stands >= 0, order[stands], -1)
    codes = leader[codes]
    kept, dense = np.unique(codes, return_inverse=True)
    shift = int(len(kept) > 0 and kept[0] < 0)
    shown = values.take(pa.array(kept[shift:]))
    if not _is_text(values):
        shown = pa.array([beginning(one) for one in shown.to_pylist()], pa.string())
    return dense - shift, shown


def _one_form(codes: Ints, values: Any) -> tuple[Ints, Any]:
    forms: list[str | None] = []
    for value in values.to_pylist():
        link = normalize_link(value) if "." in value else None
        forms.append(link.url if link else value or None)
    again, formed = _coded(pa.array(forms, pa.string()))
    return np.append(again, -1)[codes], formed


def _tag_sets(row: Ints, codes: Ints, values: Any, post: Ints) -> tuple[Ints, Ints, Any]:
    """The set of hashtags of each post that has two or more; it stands in the post's first row."""
    row, codes = row[codes >= 0], codes[codes >= 0]
    order = np.lexsort((codes, post[row]))
    row, codes = row[order], codes[order]
    posts = post[row]
    new = np.ones(len(row), np.bool_)
    new[1:] = (posts[1:] != posts[:-1]) | (codes[1:] != codes[:-1])
    row, codes, posts = row[new], codes[new], posts[new]
    starts = np.flatnonzero(np.append(True, posts[1:] != posts[:-1])) if len(posts) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(posts)))
    words = [str(value).lower() for value in values.to_pylist()]
    tags = [
        " ".join(sorted({words[code] for code in codes[start : start + size]})) if size > 1 else None
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
    ]
    tags = [some if some and " " in some else None for some in tags]
    sets, shown = _coded(pa.array(tags, pa.string()))
    firsts = np.minimum.reduceat(row, starts) if len(starts) else row
    return firsts[sets >= 0], sets[sets >= 0], shown


def _sources(
    columns: Mapping[str, Any], n: int, post: Ints, row: Ints, objects: Ints, kinds: Ints, values: list[tuple[int, Any]]
) -> tuple[Ints, tuple[str, ...]]:
    """The outlet of each object: what the column says of its posts, else the host of a link."""
    source = np.full(len(kinds), -1, np.int64)
    if "source" in columns:
        told, shown = _coded(columns["source"])
        by_post = np.full(int(post.max(initial=0)) + 1, -1, np.int64)
        np.maximum.at(by_post, post, told)
        np.maximum.at(source, objects, by_post[post[row]])
        return source, tuple(str(value) for value in shown.to_pylist())
    hosts: dict[str, int] = {}
    if kinds[0] == 0 and _is_text(values[0][1]):
        for at, value in enumerate(values[0][1].to_pylist()):
            if value.startswith("https://"):
                host = value[8:].partition("/")[0].partition("?")[0].removeprefix("www.")
                source[at] = hosts.setdefault(host, len(hosts))
    return source, tuple(hosts)
