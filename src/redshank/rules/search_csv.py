"""Found events as CSV that a spreadsheet opens without running anything in it.

A cell that begins as a formula does gets an apostrophe before it, as OWASP advises: strangers wrote these texts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from redshank.rules.search import Row

HEAD = (
    "network",
    "event",
    "type",
    "at",
    "received_at",
    "account",
    "handle",
    "language",
    "text",
    "links",
    "rules",
    "shadow",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Account(msgspec.Struct):
    handle: str | None = None


class _Post(msgspec.Struct):
    text: str = ""
    language: str | None = None
    links: tuple[str, ...] = ()


class _Body(msgspec.Struct):
    account: _Account = msgspec.field(default_factory=_Account)
    post: _Post = msgspec.field(default_factory=_Post)


_decode = msgspec.json.Decoder(_Body).decode


def lines_of(rows: Iterable[Row | str], *, cut: dict[str, str] | None = None) -> Iterator[str]:
    """The lines of a CSV file, its head first. A text among the rows says why they end; `cut` has the sentence for it."""
    yield _line(HEAD)
    for row in rows:
        if not isinstance(row, str):
            yield _line(_cells(row))
        elif row:
            yield _line([(cut or {}).get(row, row)])


def _cells(row: Row) -> Iterator[str]:
    try:
        body = _decode(row.body)
    except msgspec.MsgspecError:  # Of another version of the schema.
        body = _Body()
    yield from (row.network, row.id, row.type, row.at.isoformat(), row.received_at.isoformat(), row.account)
    yield from (body.account.handle or "", body.post.language or "", body.post.text)
    yield from (" ".join(body.post.links), " ".join(row.rules), " ".join(row.shadow))


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([harmless(cell) for cell in cells])
    return out.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell
