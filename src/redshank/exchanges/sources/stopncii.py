"""Feeds of StopNCII's shape: hashes that people made of their own pictures, with what platforms said of them.

Shape: StopNCII's API, version 1 (FetchHashes, SubmitFeedback), as the public `threatexchange` client documents it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from redshank.exchanges.http import HttpError
from redshank.exchanges.records import Aside, Ask, Kind, Page, Record, Said, SourceError, Word, at_text

PAGE = 800
FIRST = 10
"""The earliest time stamp that it takes."""
KINDS = {"ImagePDQ": "pdq", "VideoMD5": "md5", "URL": "url"}
_SAYS = {"Blocked": "agrees", "NotBlocked": "disagrees"}
_TELL = {"agrees": "Blocked", "disagrees": "NotBlocked", "seen": "PendingReview"}


def _headers(ask: Ask, function: int) -> dict[str, str]:
    keys = [key.strip() for key in ask.secret.split(",")]
    if len(keys) <= function or not keys[0]:
        raise SourceError("the secret lacks a key", hint="It is SUBSCRIPTION,FETCH or SUBSCRIPTION,FETCH,FEEDBACK.")
    return {"Ocp-Apim-Subscription-Key": keys[0], "x-functions-key": keys[function], "Accept": "application/json"}


def fetch(ask: Ask) -> Iterator[Page]:
    """What changed since the checkpoint: `since` in seconds since 1970; `next` is a cursor of a run that was cut off."""
    url = f"{ask.address.rstrip('/')}/FetchHashes"
    checkpoint = ask.checkpoint or {}
    since, onward = int(checkpoint.get("since", FIRST)), str(checkpoint.get("next", ""))
    before = b""
    while True:
        params = {"startTimestamp": str(since), "pageSize": str(PAGE), **({"nextPageToken": onward} if onward else {})}
        try:
            answer = ask.http.ask("GET", url, params=params, headers=_headers(ask, 1))
        except HttpError as problem:
            if onward and onward == checkpoint.get("next") and problem.status in {400, 404, 410}:
                onward = ""  # Its cursors do not live long; what is fetched twice changes nothing.
                continue
            raise
        found = answer.json()
        if not isinstance(found, dict) or not isinstance(found.get("hashRecords", []), list):
            raise SourceError("answers without a list of records", where=url)
        reached = int(found.get("nextSetTimestamp") or since)
        more = bool(found.get("hasMoreRecords"))
        token = str(found.get("nextPageToken") or "")
        if more and (not token or answer.body == before):
            raise SourceError("sends the same page again and again", where=url)
        before = answer.body
        yield Page(
            records=tuple(_record(row) for row in found.get("hashRecords", [])),
            checkpoint={"since": since, "next": token} if more else {"since": max(since, reached)},
            reached=at_text(max(since, reached)),
            noticed=f"It went back in time, to {at_text(reached)}, after it had reached {at_text(since)}."
            if reached < since
            else "",
        )
        if not more:
            return
        onward = token


def _record(row: Any) -> Record | Aside:
    try:
        type_, value = str(row["signalType"]), str(row["hashValue"])
        words = [Word("agrees")]
        words += [
            Word(_SAYS.get(one.get("feedbackValue"), "seen"), str(one.get("source", ""))[:100])  # type: ignore[arg-type]
            for one in row.get("CSPFeedbacks") or []
            if one.get("source")
        ]
        gone = row.get("hashStatus") in {"Withdrawn", "Deleted"}
    except (KeyError, TypeError, AttributeError) as error:
        return Aside("", str(row)[:200], f"not a record as documented: {type(error).__name__} {error}")
    return Record(
        key=f"{type_}:{value}", kind=KINDS.get(type_, type_), value=value, gone=gone, words=tuple(words), ref=value
    )


def tell(ask: Ask, said: Said) -> None:
    """Give feedback on the hash that `said.ref` is."""
    url = f"{ask.address.rstrip('/')}/SubmitFeedback"
    one = {"hashValue": said.ref, "feedbackValue": _TELL[said.says], "tags": []}
    body = msgspec.json.encode({"count": 1, "hashFeedbacks": [one]})
    headers = {**_headers(ask, 2), "Content-Type": "application/json"}
    ask.http.ask("POST", url, headers=headers, content=body, fine=frozenset({200, 201, 202, 204}))


KIND = Kind(
    name="stopncii",
    about="StopNCII, and feeds of its shape",
    fetch=fetch,
    tell=tell,
    address="https://api.stopncii.org/v1",
    secret="SUBSCRIPTION,FETCH,FEEDBACK (the keys)",  # noqa: S106 - says what it is
)
