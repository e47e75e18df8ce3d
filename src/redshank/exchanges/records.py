"""What any source says, in one shape: known things with the source's own key, pages of them, and where to go on after each.

The one idea: a client of a protocol only turns answers into `Page`s. Whatever is done with them (staging, weighing,
taking over, withdrawing) is the same for all, and needs to know no protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from redshank.core import Problem
from redshank.exchanges.http import Http

MAX_KEY = 200
"""Characters of a source's key that are kept; a longer one is kept as its SHA-256."""

Says = Literal["agrees", "disagrees", "seen"]


class SourceError(Problem):
    """The source could not be asked, or its answer is none. `temporary`: asking again later may help."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", temporary: bool = False) -> None:
        self.temporary = temporary
        super().__init__(what, where=where, hint=hint)


class StaleError(SourceError):
    """The source cannot go on from our checkpoint any more: all of it must be fetched again."""


class Unchanged(Exception):
    """The whole list is as it was when it was last taken over."""


class Word(msgspec.Struct, frozen=True):
    """What somebody says of a thing; `who` is empty for the source itself."""

    says: Says
    who: str = ""
    note: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag="record"):
    """One thing as the source names it.

    `key` is the source's own name for it, the same in every answer; `kind` a bank's kind and `value` the thing as the
    source writes it, both empty for what only gives opinions on the thing of that key. `gone`: it was withdrawn there.
    `ref` is what an answer to the source must name; `quality` that of a PDQ hash, 0 to 100.
    """

    key: str
    kind: str = ""
    value: str = ""
    gone: bool = False
    label: str = ""
    note: str = ""
    quality: int | None = None
    words: tuple[Word, ...] = (Word("agrees"),)
    ref: str = ""


class Aside(msgspec.Struct, frozen=True, tag="aside"):
    """What of an answer cannot be taken: where it stood, what it was, and why not."""

    place: str
    value: str
    reason: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what a source sends, and the checkpoint from which to go on after it.

    `reached` is how far in the source's own time that is, for people; `noticed` what is odd about it and no error, such
    as a source that went back in time.
    """

    records: tuple[Record | Aside, ...]
    checkpoint: dict[str, Any]
    reached: str = ""
    noticed: str = ""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is given: whom to ask, with what, and from where on (`checkpoint` None: from the start).

    `place` is a file that a list is downloaded into, or found in where `given` is true.
    """

    address: str
    options: Mapping[str, str]
    secret: str
    checkpoint: dict[str, Any] | None
    http: Http
    now: datetime
    place: str = ""
    given: bool = False


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell a source about a thing of its: `key` and `ref` are those of its record."""

    key: str
    ref: str
    kind: str
    value: str
    says: Says
    count: int = 0
    at: datetime


IN_ADDRESS = r"[^\s/?#&]+"
"""The form of an option that becomes a part of an address, and is to change nothing else in it."""


class Option(msgspec.Struct, frozen=True):
    """Something that must or may be said of a source of one kind. `form`: a regular expression that all of it matches."""

    name: str
    about: str
    required: bool = False
    default: str = ""
    form: str = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of source: how it is asked, and told.

    `whole`: every answer is all there is, so that what is missing is withdrawn. `keeps_days`: it names withdrawals for so
    long; a checkpoint older than that has missed some. `full_days`: it names withdrawals poorly, so that all of it is best
    fetched anew so often. `secret` says what the secret is, empty where there is none. `tell` tells it what became of a
    thing, in the words that it `takes`; `untold` says, where it cannot be told from here, how its people learn of it.
    """

    name: str
    about: str
    fetch: Callable[[Ask], Iterator[Page]]
    address: str = ""
    options: tuple[Option, ...] = ()
    secret: str = ""
    whole: bool = False
    keeps_days: int | None = None
    full_days: int | None = None
    tell: Callable[[Ask, Said], None] | None = None
    takes: tuple[Says, ...] = ("agrees", "disagrees", "seen")
    untold: str = "A list has no way back: give its maker the file."

    @property
    def can_be_told(self) -> bool:
        """Whether it takes answers. For templates, too: one that names `tell` calls it."""
        return self.tell is not None


def at_text(seconds: float) -> str:
    """Seconds since 1970 as people read them; empty for what is out of range."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return ""


def short_key(key: str) -> str:
    """`key` as it is kept: itself, or the SHA-256 of what is longer than the store's field."""
    plain = key.replace("\0", "").encode("utf-8", "replace").decode()
    return plain if len(plain) <= MAX_KEY else "sha256:" + hashlib.sha256(plain.encode()).hexdigest()


def digest(record: Record) -> int:
    """64 bits over all that a record says, as a signed number: by it a record that says nothing new is known."""
    body = hashlib.blake2b(msgspec.msgpack.encode(record), digest_size=8).digest()
    return int.from_bytes(body, "big", signed=True)
