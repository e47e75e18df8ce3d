"""MISP: a server's attributes by its REST search, and the feeds of files that it publishes.

Formats: the MISP core format (misp-project.org) and MISP's automation API. Attributes that are not marked for detection
(`to_ids`) say nothing here; one that loses the mark is withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from redshank.exchanges.records import Aside, Ask, Kind, Option, Page, Record, Said, SourceError, Word, at_text

PAGE = 2000
KINDS = {
    "md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha512": "sha512", "pdq": "pdq", "url": "url", "uri": "url",
    "domain": "domain", "hostname": "domain", "malware-sample": "md5",
}  # fmt: skip
TAG = "redshank:kind="
"""A tag that names a bank's kind, where MISP has no type for it."""
_SIGHTINGS = {"0": "seen", "1": "disagrees"}
_TELL = {"seen": "0", "agrees": "0", "disagrees": "1"}


def _headers(ask: Ask) -> dict[str, str]:
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    return headers | ({"Authorization": ask.secret} if ask.secret else {})


def fetch(ask: Ask) -> Iterator[Page]:
    """Attributes that were changed since the checkpoint (`since`, in seconds since 1970), deleted ones too."""
    url = f"{ask.address.rstrip('/')}/attributes/restSearch"
    checkpoint = ask.checkpoint or {}
    since, number = int(checkpoint.get("since", 0)), int(checkpoint.get("page", 1))
    top = int(checkpoint.get("top", since))
    before: Any = None
    while True:
        asked: dict[str, Any] = {"returnFormat": "json", "page": number, "limit": PAGE, "deleted": [0, 1], "includeSightings": 1}  # fmt: skip
        asked |= {"timestamp": str(since)} if since else {}
        asked |= {"tags": ask.options["tags"].split(",")} if ask.options.get("tags") else {}
        found = ask.http.ask("POST", url, headers=_headers(ask), content=msgspec.json.encode(asked)).json()
        rows = found.get("response", {}).get("Attribute", []) if isinstance(found, dict) and isinstance(found.get("response"), dict) else None  # fmt: skip
        if not isinstance(rows, list):
            raise SourceError("answers without a list of attributes", where=url)
        if rows and rows == before:
            raise SourceError("sends the same page again and again", where=url)
        before = rows
        times = [int(row["timestamp"]) for row in rows if isinstance(row, dict) and str(row.get("timestamp", "")).isdigit()]  # fmt: skip
        back = min(times, default=since)
        top = max([top, *times])
        more = len(rows) >= PAGE
        yield Page(
            records=tuple(record_of(row) for row in rows),
            checkpoint={"since": since, "page": number + 1, "top": top} if more else {"since": top},
            reached=at_text(top),
            noticed=f"It went back in time, to {at_text(back)}, after it had reached {at_text(since)}."
            if back < since
            else "",
        )
        if not more:
            return
        number += 1


def record_of(row: Any, *, gone: bool = False) -> Record | Aside:
    """One attribute, as an event holds it or a search gives it."""
    try:
        key, type_, value = str(row["uuid"]), str(row["type"]), str(row["value"])
        kind = KINDS.get(type_.rpartition("|")[2], type_)
        if "|" in type_ or type_ == "malware-sample":
            value = value.rpartition("|")[2]
        for tag in row.get("Tag") or []:
            if str(tag.get("name", "")).startswith(TAG):
                kind = tag["name"].removeprefix(TAG).strip('"')
        deleted = row.get("deleted") in (True, 1, "1")
        unmarked = row.get("to_ids", True) in (False, 0, "0")
        words = [Word("agrees")]
        for one in row.get("Sighting") or []:
            who = str((one.get("Organisation") or {}).get("name") or one.get("source") or "")
            if who and (says := _SIGHTINGS.get(str(one.get("type")))):
                words.append(Word(says, who))  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError) as error:
        return Aside("", str(row)[:200], f"not an attribute as documented: {type(error).__name__} {error}")
    return Record(
        key=key, kind=kind, value=value, gone=gone or deleted or unmarked, label=str(row.get("comment") or ""),
        words=tuple(words), ref=key,
    )  # fmt: skip


def tell(ask: Ask, said: Said) -> None:
    """Add a sighting of the attribute that `said.ref` names: seen, or a false positive."""
    url = f"{ask.address.rstrip('/')}/sightings/add/{said.ref}"
    body = msgspec.json.encode({"type": _TELL[said.says], "source": ask.options.get("sender", "") or "redshank"})
    ask.http.ask("POST", url, headers=_headers(ask), content=body)


def fetch_feed(ask: Ask) -> Iterator[Page]:
    """The events of a feed whose time stamp is later than the checkpoint's, the oldest first."""
    base = ask.address.rstrip("/")
    since = int((ask.checkpoint or {}).get("since", 0))
    manifest = ask.http.ask("GET", f"{base}/manifest.json", headers=_headers(ask)).json()
    if not isinstance(manifest, dict):
        raise SourceError("its manifest is no list of events", where=base)
    events = []
    for name, about in manifest.items():
        said = str(about.get("timestamp", "")) if isinstance(about, dict) else ""
        if not said.isdigit() or not name.replace("-", "").isalnum():
            raise SourceError(f"its manifest names an event without a time: {name[:60]!r}", where=base)
        events.append((int(said), name))
    events.sort()
    newest = max((stamp for stamp, _ in events), default=since)
    noticed = (
        f"It went back in time, to {at_text(newest)}, after it had reached {at_text(since)}." if newest < since else ""
    )
    if noticed or not events:
        yield Page(records=(), checkpoint={"since": since}, reached=at_text(since), noticed=noticed)
    for at, (stamp, name) in enumerate(events):
        if stamp <= since:
            continue
        found = ask.http.ask("GET", f"{base}/{name}.json", headers=_headers(ask)).json()
        event = found.get("Event") if isinstance(found, dict) else None
        if not isinstance(event, dict):
            raise SourceError("an event of it is none", where=f"{base}/{name}.json")
        rows = list(event.get("Attribute") or [])
        for thing in event.get("Object") or []:
            rows += thing.get("Attribute") or [] if isinstance(thing, dict) else []
        # Several events can have one time: until all of them are read, the checkpoint stays before it.
        kept = stamp if at + 1 == len(events) or events[at + 1][0] > stamp else max(since, stamp - 1)
        yield Page(records=tuple(record_of(row) for row in rows), checkpoint={"since": kept}, reached=at_text(stamp))


KIND = Kind(
    name="misp",
    about="MISP server",
    fetch=fetch,
    tell=tell,
    options=(
        Option("tags", "only attributes with these tags, with commas between"),
        Option("sender", "who we say we are in sightings"),
    ),
    secret="automation key",  # noqa: S106 - says what it is
    full_days=30,
)
FEED = Kind(
    name="misp-feed",
    about="MISP feed",
    fetch=fetch_feed,
    secret="automation key; empty for none",  # noqa: S106 - says what it is
    full_days=1,
)
