"""Tech Against Terrorism's Terrorist Content Analytics Platform: its content hash list, version 2, and its export of links.

Shapes: terrorismanalytics.org/docs/hash-list-v2, and the header of TCAP's CSV export. Entries come in the order of their
last change; each page's checkpoint is the time and the id of its last entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redshank.exchanges.http import HttpError, form
from redshank.exchanges.records import Aside, Ask, Kind, Option, Page, Record, SourceError, at_text

PAGE = 1000
KINDS = {"PDQ": "pdq", "MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


def _sign_in(ask: Ask) -> str:
    name, colon, password = ask.secret.partition(":")
    if not colon:
        raise SourceError("the secret is not USER:PASSWORD", hint="Give it again.")
    url = f"{ask.address.rstrip('/')}/token-auth/tcap/"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    body = form({"username": name, "password": password, "resend": "false"})
    found = ask.http.ask("POST", url, headers=headers, content=body, fine=frozenset({200, 201})).json()
    token = found.get("token") if isinstance(found, dict) else None
    if not token:
        raise SourceError("does not sign us in: it gives no token", where=url)
    return str(token)


def fetch(ask: Ask) -> Iterator[Page]:
    """What was added, changed or deleted since the checkpoint (`after`: "seconds,id")."""
    url = f"{ask.address.rstrip('/')}/api/hash-list/v2/all"
    after = start = str((ask.checkpoint or {}).get("after", ""))
    token = _sign_in(ask)
    renewed = False
    while True:
        params = {"order": "asc", "after": after, "limit": str(PAGE)}
        if ask.options.get("ideology"):
            params["ideology"] = ask.options["ideology"]
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        try:
            found = ask.http.ask("GET", url, params=params, headers=headers).json()
        except HttpError as problem:
            if problem.status != 401 or renewed:
                raise
            token, renewed = _sign_in(ask), True  # The token ran out on the way.
            continue
        renewed = False
        if not isinstance(found, dict) or not isinstance(found.get("results"), list):
            raise SourceError("answers without a list of results", where=url)
        reached = str(found.get("checkpoint") or after)
        noticed = ""
        if start and _seconds(reached) < _seconds(start):
            noticed = f"It went back in time, to {at_text(_seconds(reached))}, after it had reached {at_text(_seconds(start))}."
        kept = after if _seconds(reached) < _seconds(after) else reached
        if found.get("next") and kept == after:
            raise SourceError("sends the same page again and again", where=url)
        yield Page(
            records=tuple(_record(row) for row in found["results"]),
            checkpoint={"after": kept},
            reached=at_text(_seconds(kept)) if kept else "",
            noticed=noticed,
        )
        if not found.get("next"):
            return
        after = kept


def _seconds(checkpoint: str) -> float:
    try:
        return float(checkpoint.partition(",")[0] or 0)
    except ValueError:
        raise SourceError(f"names a checkpoint that is no time: {checkpoint[:80]!r}") from None


def _record(row: Any) -> Record | Aside:
    try:
        algorithm = str(row["algorithm"]).upper().replace("-", "")
        return Record(
            key=str(row["id"]),
            kind=KINDS.get(algorithm, algorithm),
            value=str(row["hash_digest"]),
            gone=row.get("deleted") is True,
            label=" ".join(str(row[name]) for name in ("ideology", "file_type") if row.get(name)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        return Aside("", str(row)[:200], f"not an entry as documented: {type(error).__name__} {error}")


def link_of(row: dict[str, str], place: str) -> Record | Aside:
    """A row of TCAP's CSV export as a link. Its address stands without its scheme, mostly."""
    address = row.get("url", "")
    if "://" not in address:
        address = (row.get("protocol") or "https://") + address
    if not row.get("id") or not row.get("url"):
        return Aside(place, str(row)[:200], "no ID, or no URL")
    return Record(key=row["id"], kind="url", value=address, label=row.get("description", ""))


KIND = Kind(
    name="tcap",
    about="TCAP hash list (Tech Against Terrorism)",
    fetch=fetch,
    address="https://app.terrorismanalytics.org",
    options=(Option("ideology", "islamist or far-right; empty: all"),),
    secret="USER:PASSWORD",  # noqa: S106 - says what it is
    untold="TCAP takes feedback on single hashes under docs.terrorismanalytics.org/docs/api-services/hash-feedback. Redshank "
    "does not send it: give them the file, or report there what is wrong.",
)
