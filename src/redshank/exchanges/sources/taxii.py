"""A collection of a TAXII 2.1 server: its indicators, sightings and opinions.

Spec: docs.oasis-open.org/cti/taxii/v2.1. The checkpoint is the time at which the server added the last object that we have; what it
deletes it does not name, so that all of it is fetched anew from time to time.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from redshank.exchanges.http import HttpError
from redshank.exchanges.records import IN_ADDRESS, Ask, Kind, Option, Page, Said, SourceError, StaleError
from redshank.exchanges.sources.stix import records_of, time_of

PAGE = 1000
MEDIA = "application/taxii+json;version=2.1"
OPINIONS = {"agrees": "strongly-agree", "disagrees": "strongly-disagree"}
_OURS = uuid.UUID("6f1c8f3e-2b0c-5d0e-9a55-0d1b6a0f7c11")


def _headers(ask: Ask) -> dict[str, str]:
    headers = {"Accept": MEDIA}
    if ":" in ask.secret:
        headers["Authorization"] = "Basic " + base64.b64encode(ask.secret.encode()).decode()
    elif ask.secret:
        headers["Authorization"] = f"Bearer {ask.secret}"
    return headers


def _objects(ask: Ask) -> str:
    return f"{ask.address.rstrip('/')}/collections/{ask.options['collection']}/objects/"


def fetch(ask: Ask) -> Iterator[Page]:
    """Objects that were added after the checkpoint (`added_after`); `next` is a cursor of a run that was cut off."""
    url = _objects(ask)
    checkpoint = ask.checkpoint or {}
    since, onward = str(checkpoint.get("added_after", "")), str(checkpoint.get("next", ""))
    last = str(checkpoint.get("last", since))
    before = b""  # A server may give one cursor for all its pages: only the same page twice is a circle.
    while True:
        params = {"limit": str(PAGE), "match[type]": "indicator,sighting,opinion"}
        params |= {"added_after": since} if since else {}
        params |= {"next": onward} if onward else {}
        try:
            answer = ask.http.ask("GET", url, params=params, headers=_headers(ask))
        except HttpError as problem:
            if onward and onward == checkpoint.get("next") and problem.status in {400, 404, 410}:
                onward, since = "", last
                continue
            if problem.status == 410:
                raise StaleError("no longer knows what was added since our checkpoint", where=url) from None
            raise
        found = answer.json()
        if not isinstance(found, dict) or not isinstance(found.get("objects", []), list):
            raise SourceError("answers without an envelope of objects", where=url)
        first, newest = (answer.headers.get(f"x-taxii-date-added-{name}", "") for name in ("first", "last"))
        newest = newest or first
        noticed = f"It went back in time, to {first}, after it had reached {since}." if _before(first, since) else ""
        last = last if not newest or _before(newest, last) else newest
        more, token = bool(found.get("more")), str(found.get("next") or "")
        if more and (answer.body == before or not (token or last != since)):
            raise SourceError("sends the same page again and again", where=url)
        before = answer.body
        midway = {"added_after": since, "next": token, "last": last} if token else {"added_after": last}
        yield Page(
            records=tuple(record for thing in found.get("objects", []) for record in records_of(thing, ask.now)),
            checkpoint=midway if more else {"added_after": last},
            reached=last,
            noticed=noticed,
        )
        if not more:
            return
        onward = token
        since = since if token else last


def _before(one: str, other: str) -> bool:
    a, b = time_of(one), time_of(other)
    return a is not None and b is not None and a < b


def tell(ask: Ask, said: Said) -> None:
    """Add a sighting of, or an opinion on, the indicator that `said.ref` names."""
    at = said.at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{said.at.microsecond // 1000:03d}Z"
    common: dict[str, Any] = {"spec_version": "2.1", "created": at, "modified": at}
    name = str(uuid.uuid5(_OURS, f"{said.ref} {said.says} {at}"))
    if said.says == "seen":
        thing = {"type": "sighting", "id": f"sighting--{name}", **common, "sighting_of_ref": said.ref, "count": min(max(said.count, 1), 999_999_999)}  # fmt: skip
    else:
        thing = {"type": "opinion", "id": f"opinion--{name}", **common, "opinion": OPINIONS[said.says], "object_refs": [said.ref]}  # fmt: skip
    headers = {**_headers(ask), "Content-Type": MEDIA}
    body = msgspec.json.encode({"objects": [thing]})
    ask.http.ask("POST", _objects(ask), headers=headers, content=body, fine=frozenset({200, 202}))


KIND = Kind(
    name="taxii",
    about="TAXII 2.1 collection",
    fetch=fetch,
    tell=tell,
    options=(Option("collection", "id of the collection", required=True, form=IN_ADDRESS),),
    secret="USER:PASSWORD, or a bearer token; empty for none",  # noqa: S106 - says what it is
    full_days=7,
)
