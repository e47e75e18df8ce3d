"""Meta's ThreatExchange, over which GIFCT's programme shares hashes: what changed in one privacy group.

Shapes: developers.facebook.com/docs/threat-exchange/reference/apis/threat-updates and …/reference/reacting. The token goes
in a header; of the addresses of further pages, which carry it, only the cursor is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redshank.exchanges.http import HttpError, form
from redshank.exchanges.records import (
    IN_ADDRESS,
    Aside,
    Ask,
    Kind,
    Option,
    Page,
    Record,
    Said,
    SourceError,
    Word,
    at_text,
)

PAGE = 500
KINDS = {
    "HASH_PDQ": "pdq", "HASH_MD5": "md5", "HASH_VIDEO_MD5": "md5", "HASH_SHA1": "sha1", "HASH_SHA256": "sha256",
    "HASH_VIDEO_SHA256": "sha256", "HASH_SHA512": "sha512", "URI": "url", "RAW_URI": "url", "DOMAIN": "domain",
}  # fmt: skip
_SAYS = {"MALICIOUS": "agrees", "NON_MALICIOUS": "disagrees"}
_REACTIONS = {
    "HELPFUL": "agrees", "NON_MALICIOUS": "disagrees", "DISAGREE_WITH_TAGS": "disagrees", "NOT_HELPFUL": "disagrees",
    "SAW_THIS_TOO": "seen",
}  # fmt: skip
_TELL = {"seen": "SAW_THIS_TOO", "agrees": "HELPFUL", "disagrees": "NON_MALICIOUS"}
_FIELDS = "id,indicator,type,last_updated,should_delete,descriptors{id,reactions,owner{id},tags,status}"


def _headers(ask: Ask) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask.secret}", "Accept": "application/json"}


def fetch(ask: Ask) -> Iterator[Page]:
    """What changed since the checkpoint (`since`: seconds since 1970), in the order in which it did."""
    base = f"{ask.address.rstrip('/')}/{ask.options['privacy_group']}/threat_updates"
    checkpoint = ask.checkpoint or {}
    since, after = int(checkpoint.get("since", 0)), str(checkpoint.get("after", ""))
    top = int(checkpoint.get("top", since))
    before = b""
    while True:
        params = {"fields": _FIELDS, "limit": str(PAGE), **({"start_time": str(since)} if since else {})}
        try:
            answer = ask.http.ask(
                "GET", base, params=params | ({"after": after} if after else {}), headers=_headers(ask)
            )
        except HttpError as problem:
            if after and problem.status == 400 and after == checkpoint.get("after"):
                after, since = "", top  # A cursor of an earlier run does not live for ever.
                continue
            raise
        found = answer.json()
        if not isinstance(found, dict) or not isinstance(found.get("data"), list):
            raise SourceError("answers without a list of updates", where=base)
        times = [int(row["last_updated"]) for row in found["data"] if str(row.get("last_updated", "")).isdigit()]
        back = min(times, default=since) if since else 0
        top = max([top, *times])
        onward = _cursor(found)
        if onward and answer.body == before:
            raise SourceError("sends the same page again and again", where=base)
        before = answer.body
        own = ask.secret.partition("|")[0]
        yield Page(
            records=tuple(_record(row, own) for row in found["data"]),
            checkpoint={"since": since, "after": onward, "top": top} if onward else {"since": top},
            reached=at_text(top),
            noticed=f"It went back in time, to {at_text(back)}, after it had reached {at_text(since)}."
            if back < since
            else "",
        )
        if not onward:
            return
        after = onward


def _cursor(found: dict[str, Any]) -> str:
    paging = found.get("paging") or {}
    if not paging.get("next"):
        return ""
    cursors = paging.get("cursors") or {}
    return str(cursors.get("after") or parse_qs(urlsplit(str(paging["next"])).query).get("after", [""])[0])


def _record(row: Any, own: str) -> Record | Aside:
    try:
        key, type_, value = str(row["id"]), str(row["type"]), str(row["indicator"])
        words: dict[str, Word] = {}
        reacted: dict[str, Word] = {}
        ref = ""
        for one in (row.get("descriptors") or {}).get("data", []):
            owner = str((one.get("owner") or {}).get("id", ""))
            if not owner or owner == own:  # What we put there ourselves is no other's word.
                continue
            ref = ref or str(one["id"])
            tags = one.get("tags") or []
            tags = [tag["text"] for tag in tags["data"]] if isinstance(tags, dict) else [str(tag) for tag in tags]
            words[owner] = Word(_SAYS.get(one.get("status"), "seen"), owner, " ".join(sorted(tags))[:500])  # type: ignore[arg-type]
            for reaction in one.get("reactions") or []:
                if says := _REACTIONS.get(reaction.get("key")):
                    for who in str(reaction.get("value", "")).split(","):
                        reacted[who.strip()] = Word(says, who.strip())  # type: ignore[arg-type]
        said = tuple({**{who: word for who, word in reacted.items() if who and who != own}, **words}.values())
        gone = bool(row.get("should_delete")) or not words or all(word.says == "disagrees" for word in words.values())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return Aside("", str(row)[:200], f"not an update as documented: {type(error).__name__} {error}")
    return Record(key=key, kind=KINDS.get(type_, type_), value=value, gone=gone, words=said, ref=ref)


def tell(ask: Ask, said: Said) -> None:
    """React to the descriptor that `said.ref` names."""
    url = f"{ask.address.rstrip('/')}/{said.ref}"
    headers = {**_headers(ask), "Content-Type": "application/x-www-form-urlencoded"}
    ask.http.ask("POST", url, headers=headers, content=form({"reactions": _TELL[said.says]}))


KIND = Kind(
    name="threatexchange",
    about="ThreatExchange (Meta; GIFCT)",
    fetch=fetch,
    tell=tell,
    address="https://graph.facebook.com/v26.0",
    options=(Option("privacy_group", "number of the privacy group", required=True, form=IN_ADDRESS),),
    secret="app token, as ID|SECRET",  # noqa: S106 - says what it is
    keeps_days=85,  # It names what was deleted for 90 days.
)
