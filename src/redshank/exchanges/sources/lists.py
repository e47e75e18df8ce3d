"""Lists that come whole: CSV, JSON and STIX files, and TCAP's export of links; from an address, or from a file here.

The one idea: what came last is all there is. Rows are read one by one, however long the list; what it no longer names is
withdrawn.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import ijson

from redshank.exchanges.records import Aside, Ask, Kind, Option, Page, Record, SourceError, Unchanged
from redshank.exchanges.sources import stix, tcap

PAGE = 2000
MAX_ROW = 1024 * 1024
"""Characters of one row."""
NAMED = ("pdq", "md5", "sha1", "sha256", "sha512", "url", "domain")
"""Kinds whose name may head a column of its own. A column called name mostly holds something else."""
VALUE = ("value", "hash", "hash_value", "hash_digest", "indicator")
KIND_NAMES = ("kind", "type", "algorithm", "hash_type", "signal_type")
GONE = ("withdrawn", "withdrawn_at", "deleted", "revoked")
_NO = ("", "0", "false", "no", "none", "null")

Rows = Iterator[Record | Aside]


def _fetch(read: Callable[[Ask, IO[bytes]], Rows]) -> Callable[[Ask], Iterator[Page]]:
    def fetch(ask: Ask) -> Iterator[Page]:
        place = Path(ask.place)
        checkpoint, noticed = ({}, "") if ask.given else _download(ask, place)
        with place.open("rb") as file:
            _look(file)
            rows = read(ask, file)
            while part := tuple(islice(rows, PAGE)):
                yield Page(records=part, checkpoint=checkpoint, reached=checkpoint.get("modified", ""), noticed=noticed)

    return fetch


def _download(ask: Ask, place: Path) -> tuple[dict[str, Any], str]:
    """The list into `place`; gives by what it is known again, and what is odd about it. Raises `Unchanged` where it is the same as before."""
    before = ask.checkpoint or {}
    headers = {"Authorization": ask.secret if " " in ask.secret else f"Bearer {ask.secret}"} if ask.secret else {}
    if before.get("etag"):
        headers["If-None-Match"] = before["etag"]
    answer = ask.http.download(ask.address, place, headers=headers)
    if answer.status == 304:
        raise Unchanged
    tag, modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
    noticed = ""
    if _time(modified) < _time(before.get("modified", "")):
        noticed = f"The list is older, of {modified}, than the one before, of {before['modified']}."
    return {**({"etag": tag[:500]} if tag else {}), **({"modified": modified[:100]} if modified else {})}, noticed


def _time(http_date: str) -> float:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (ValueError, TypeError):
        return 0.0


def _look(file: IO[bytes]) -> None:
    """Raises `SourceError` for what is plainly no list."""
    head = file.read(4096)
    file.seek(0)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise SourceError("the list is empty", hint="Nothing was changed. If that is right, withdraw its entries here.")
    if start.startswith(b"<"):
        raise SourceError("a web page or XML where a list should be")
    if b"\0" in head or head[:2] in {b"\x1f\x8b", b"PK", b"BZ"}:
        raise SourceError("a packed or binary file where a list should be")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str | Aside]]:
    number = 0
    while line := file.readline(MAX_ROW):
        number += 1
        whole = line.endswith(b"\n")
        while not whole and (rest := file.readline(MAX_ROW)):
            whole = rest.endswith(b"\n")
            if whole or len(rest) == MAX_ROW:
                line = line[:MAX_ROW] + b" "
        text = line.decode("utf-8", "replace").replace("\0", "").strip("\ufeff\r\n")
        if len(line) > MAX_ROW:
            yield number, Aside(f"line {number}", text[:200], f"more than {MAX_ROW:,} characters")
        elif text.strip():
            yield number, text


def _csv(ask: Ask, file: IO[bytes]) -> Rows:
    return _table(ask, file, lambda row, place: _records(row, ask.options.get("kind", ""), place), VALUE + NAMED)


def _tcap_links(ask: Ask, file: IO[bytes]) -> Rows:
    return _table(ask, file, lambda row, place: [tcap.link_of(row, place)], ("url",))


def _table(
    ask: Ask, file: IO[bytes], make: Callable[[dict[str, str], str], list[Record | Aside]], wanted: Iterable[str]
) -> Rows:
    columns: list[str] | None = None
    delimiter = ","
    lines = _lines(file)
    for number, text in lines:
        if isinstance(text, Aside):
            yield text
            continue
        joined = text
        for _ in range(20):  # A cell in quotes may run over some lines.
            if joined.count('"') % 2 == 0 or not isinstance(more := next(lines, (0, Aside("", "", "")))[1], str):
                break
            joined += "\n" + more
        if columns is None and "," not in joined:
            delimiter = next((char for char in ";\t|" if char in joined), ",")
        place = f"line {number}"
        try:
            cells = next(csv.reader([joined], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            yield Aside(place, text[:200], f"not a line of CSV: {error}")
            continue
        if columns is None:
            columns = [cell.strip().lower().replace(" ", "_") for cell in cells]
            if not set(wanted) & set(columns):
                if len(columns) > 1 or not ask.options.get("kind"):
                    said = ", ".join(columns)[:200]
                    hint = f"One column is to be {', '.join(VALUE)} or a kind."
                    raise SourceError(f"the first line names no column with values: {said}", hint=hint)
                columns = ["value"]
            else:
                continue
        if len(cells) > len(columns):
            yield Aside(place, text[:200], f"{len(cells)} cells; the header names {len(columns)}")
            continue
        yield from make(dict(zip(columns, (cell.strip() for cell in cells), strict=False)), place)


def _records(row: dict[str, Any], kind: str, place: str) -> list[Record | Aside]:
    """What a row of any list says: one value with its kind, or columns named after kinds."""

    def text(names: Iterable[str], most: int = 10_000) -> str:
        for name in names:
            if (said := row.get(name)) not in (None, ""):
                return str(said)[:most]
        return ""

    gone = any(str(row[name] or "").strip().lower() not in _NO for name in GONE if name in row)
    quality = text(("quality",))
    if quality and not (quality.isascii() and quality.isdigit() and int(quality[:9]) <= 100):
        return [Aside(place, str(row)[:200], f"a quality of {quality[:20]!r}; it is 0 to 100")]
    said = text(KIND_NAMES).lower().replace("-", "") or kind
    found = [(said, value)] if (value := text(VALUE)) else [(name, str(row[name])) for name in NAMED if row.get(name)]
    if not found:
        return [Aside(place, str(row)[:200], "no value")]
    key = text(("id", "key", "uuid"))
    return [
        Record(
            key=(key if len(found) == 1 else f"{key}:{name}") if key else f"{name}:{value.strip().lower()}",
            kind=name, value=value, gone=gone, label=text(("label", "title"), 200), note=text(("note", "comment")),
            quality=int(quality) if quality else None, ref=key,
        )
        for name, value in found
    ]  # fmt: skip


def _json(ask: Ask, file: IO[bytes]) -> Rows:
    kind = ask.options.get("kind", "")
    for number, thing in _things(ask, file):
        place = f"item {number}"
        if isinstance(thing, Aside):
            yield thing
        elif isinstance(thing, str):
            yield from _records({"value": thing}, kind, place)
        elif isinstance(thing, dict):
            yield from _records({str(name).lower(): value for name, value in thing.items()}, kind, place)
        else:
            yield Aside(place, str(thing)[:200], "neither a text nor an object")


def _things(ask: Ask, file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """The items of an array, of an array inside an object (option `path`), or of lines of JSON."""
    head = file.read(MAX_ROW)
    file.seek(0)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    first = start.partition(b"\n")[0].strip()
    if start[:1] == b"{" and first.endswith(b"}") and not ask.options.get("path"):
        for number, text in _lines(file):
            try:
                yield number, text if isinstance(text, Aside) else json.loads(text)
            except (ValueError, RecursionError) as error:
                yield number, Aside(f"line {number}", str(text)[:200], f"no JSON: {error}")
        return
    path = ask.options.get("path", "").strip(".")
    yield from enumerate(_items(file, f"{path}.item" if path else "item"), 1)


def _items(file: IO[bytes], path: str) -> Iterator[Any]:
    """The items at `path` of one document, one at a time. Raises `SourceError` where it is no JSON or breaks off."""
    try:
        yield from ijson.items(file, path, use_float=True)
    except (ijson.JSONError, UnicodeError, RecursionError) as error:
        raise SourceError(f"no JSON, or it breaks off: {str(error).splitlines()[0][:200]}") from None


def _stix(ask: Ask, file: IO[bytes]) -> Rows:
    for thing in _items(file, "objects.item"):
        yield from stix.records_of(thing, ask.now)


_KIND = Option("kind", "kind of the values where a row does not say it: pdq, md5, sha1, sha256, sha512, url, …")
_TOKEN = "bearer token, or a whole Authorization header; empty for none"  # noqa: S105 - says what it is
CSV = Kind(name="csv", about="CSV list", fetch=_fetch(_csv), whole=True, secret=_TOKEN, options=(_KIND,))
JSON = Kind(
    name="json", about="JSON list", fetch=_fetch(_json), whole=True, secret=_TOKEN,
    options=(_KIND, Option("path", "where the array stands in the document, as data.items; empty: it is the document")),
)  # fmt: skip
STIX = Kind(name="stix", about="STIX 2.1 bundle", fetch=_fetch(_stix), whole=True, secret=_TOKEN)
TCAP_LINKS = Kind(
    name="tcap-links", about="TCAP export of links (CSV)", fetch=_fetch(_tcap_links), whole=True, secret=_TOKEN
)
