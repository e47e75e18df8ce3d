"""Feeds of NCMEC's shape: hash sharing API, version 2, in XML.

Shape: NCMEC's hash sharing API as the public `threatexchange` client documents it. Entries do not come in the order of time,
so the checkpoint moves only when a whole stretch of time was read; until then it holds the cursor, for half a day.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Set
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from redshank.exchanges.http import HttpError
from redshank.exchanges.records import Aside, Ask, Kind, Option, Page, Record, Said, SourceError, Word

KINDS = {"md5": "md5", "sha1": "sha1", "pdq": "pdq"}
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
CURSOR_LIVES = timedelta(hours=12)
SETTLED = timedelta(seconds=5)
"""What is younger may still change its place."""


def _headers(ask: Ask) -> dict[str, str]:
    if ":" not in ask.secret:
        raise SourceError("the secret is not USER:PASSWORD", hint="Give it again.")
    return {"Authorization": "Basic " + base64.b64encode(ask.secret.encode()).decode(), "Accept": "application/xml"}


def fetch(ask: Ask) -> Iterator[Page]:
    """What changed from `since` to `to` (seconds since 1970), by 1,000 entries."""
    base = ask.address.rstrip("/")
    members = {int(one) for one in ask.options.get("members", "").split(",") if one.strip()}
    checkpoint = ask.checkpoint or {}
    since, onward = int(checkpoint.get("since", 0)), str(checkpoint.get("next", ""))
    to = int((ask.now - SETTLED).timestamp())
    if onward and ask.now.timestamp() - float(checkpoint.get("at", 0)) < CURSOR_LIVES.total_seconds():
        to = int(checkpoint["to"])
    else:
        onward = ""
    if to <= since:
        return
    while True:
        params = None if onward else {"from": _time(since), "to": _time(to)}
        try:
            answer = ask.http.ask("GET", base + (onward or "/v2/entries"), params=params, headers=_headers(ask))
        except HttpError as problem:
            if onward and onward == checkpoint.get("next") and problem.status in {400, 404, 410}:
                onward, to = "", int((ask.now - SETTLED).timestamp())
                continue
            raise
        root = parse(answer.body)
        if root.tag != "queryResult":
            raise SourceError(f"answers with <{root.tag[:40]}> where <queryResult> should be", where=base)
        further = (root.findtext("paging/next") or "").strip()
        if further and further == onward:
            raise SourceError("sends the same page again and again", where=base)
        if further and not further.startswith("/"):
            raise SourceError("names a next page that cannot be asked for", where=base)
        done = {"since": to}
        midway = {"since": since, "to": to, "next": further, "at": int(ask.now.timestamp())}
        records = [
            record
            for part in ("images", "videos")
            for entry in root.iterfind(f"{part}/*")
            for record in _records(entry, members)
        ]
        yield Page(
            records=tuple(records), checkpoint=midway if further else done, reached=_time(since if further else to)
        )
        if not further:
            return
        onward = further


def parse(body: bytes) -> ET.Element:
    """A document without names' prefixes. One that declares entities is refused: they can grow without end."""
    head = body[:4096].lower()
    if b"<!doctype" in head or b"<!entity" in body.lower():
        raise SourceError("answers with a web page or a document that declares entities")
    try:
        root = ET.fromstring(body)  # noqa: S314 - without entities it is only as large as it is
    except (ET.ParseError, ValueError) as error:
        raise SourceError(f"answers with no XML: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _records(entry: ET.Element, members: Set[int]) -> list[Record | Aside]:
    """What an entry says, fingerprint by fingerprint; nothing where its provider is none of `members`, and they are not empty."""
    member = entry.find("member")
    number = (entry.findtext("id") or "").strip()
    if member is None or not member.get("id") or not number:
        return [Aside("", ET.tostring(entry, encoding="unicode")[:200], "an entry without id or member")]
    own = member.get("id", "")
    if members and not (own.strip().isdecimal() and int(own) in members):
        return []
    if entry.tag.lower().startswith("deleted"):
        return [Record(key=f"{own}-{number}:{name}", kind=kind, gone=True) for name, kind in KINDS.items()]
    words = _feedback(entry)
    found = ((element.tag.lower(), (element.text or "").strip()) for element in entry.iterfind("fingerprints/*"))
    return [
        Record(
            key=f"{own}-{number}:{name}",
            kind=KINDS.get(name, name),
            value=value,
            label=(entry.findtext("classification") or "").strip(),
            words=(Word("agrees", own), *words.get(name, ())),
            ref=f"{own}/{number}/{name.upper()}",
        )
        for name, value in found
        if value
    ]


def _feedback(entry: ET.Element) -> dict[str, list[Word]]:
    words: dict[str, list[Word]] = {}
    for element in entry.iterfind("feedback/*"):
        said = words.setdefault(element.get("type", "").lower(), [])
        says = "agrees" if element.tag == "affirmativeFeedback" else "disagrees"
        said += [Word(says, one.get("id", "")) for one in element.iter("member") if one.get("id")]  # type: ignore[arg-type]
    return words


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tell(ask: Ask, said: Said) -> None:
    """Vote for or against the fingerprint that `said.ref` names."""
    base = ask.address.rstrip("/")
    root = ET.Element("feedbackSubmission", xmlns=NAMESPACE)
    if said.says == "agrees":
        ET.SubElement(root, "affirmative")
    else:
        reason = ask.options.get("reason") or _only_reason(ask, base, said.ref.rpartition("/")[2])
        reasons = ET.SubElement(ET.SubElement(root, "negative"), "reasonIds")
        ET.SubElement(reasons, "guid").text = reason
    headers = {**_headers(ask), "Content-Type": "application/xml; charset=utf-8"}
    url = f"{base}/v2/entries/{said.ref}/feedback"
    ask.http.ask("PUT", url, headers=headers, content=ET.tostring(root), fine=frozenset({200, 201, 202, 204}))


def _only_reason(ask: Ask, base: str, fingerprint: str) -> str:
    root = parse(ask.http.ask("GET", f"{base}/v2/feedback/{fingerprint}/reasons", headers=_headers(ask)).body)
    found = [element.get("guid", "") for element in root.iter() if element.get("guid")]
    if len(found) != 1:
        hint = "Set the option `reason` to the one that fits."
        raise SourceError(f"has {len(found)} reasons for disagreeing, and none is chosen", where=base, hint=hint)
    return found[0]


KIND = Kind(
    name="ncmec",
    about="NCMEC hash sharing, and feeds of its shape",
    fetch=fetch,
    tell=tell,
    takes=("agrees", "disagrees"),
    options=(
        Option("reason", "GUID of the reason that is given when we disagree"),
        Option(
            "members",
            "numbers of the providers (ESP) whose entries are taken, by commas; empty: all",
            form=r"[0-9]{1,18}(?:\s*,\s*[0-9]{1,18})*",
        ),
    ),
    secret="USER:PASSWORD",  # noqa: S106 - says what it is
)
