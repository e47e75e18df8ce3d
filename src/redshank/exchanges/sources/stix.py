"""STIX 2.1: what indicators point at, and what sightings and opinions say of them.

Spec: docs.oasis-open.org/cti/stix/v2.1. Of patterns only alternatives of exact values are taken: a pattern that asks for more
than one thing at once, or for one after the other, would match too much if it were cut in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from redshank.exchanges.records import Aside, Record, Word

HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA1": "sha1", "SHA-256": "sha256", "SHA256": "sha256", "SHA-512": "sha512", "SHA512": "sha512", "PDQ": "pdq"}  # fmt: skip
PATHS = {
    "url:value": "url", "domain-name:value": "domain", "x-redshank-term:value": "term",
    "user-account:account_login": "name", "user-account:display_name": "name", "x-redshank-video:sha256": "video",
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<sign>[\[\](),=])|(?P<word>[^\s\[\](),='\"]+(?:'[^'\\]*'|\"[^\"\\]*\")?))"
)
_ESCAPED = re.compile(r"\\(.)")
MOST = 100
"""Values that one pattern may name."""
_MAX_PATTERN = 100_000
_OPINIONS = {"strongly-disagree": "disagrees", "disagree": "disagrees", "neutral": "seen", "agree": "agrees", "strongly-agree": "agrees"}  # fmt: skip


class Pattern(Exception):
    """Why a pattern is not taken."""


def values_of(pattern: str) -> list[tuple[str, str]]:
    """The (kind, value) pairs that `pattern` offers as alternatives. Raises `Pattern` for what is more than that.

    Joined by AND are taken only hashes of one file. What is named by a path that no bank's kind has is left out.
    """
    tokens = list(_tokens(pattern))
    found: list[tuple[str, str]] = []
    at = 0
    while True:
        if tokens[at : at + 1] != ["["]:
            raise Pattern("no observation in brackets where one should be")
        paths: list[str] = []
        joins: list[str] = []
        at += 1
        while True:
            at, path, values = _comparison(tokens, at)
            paths.append(path)
            if kind := _kind(path):
                found += [(kind, value) for value in values]
            join = tokens[at] if at < len(tokens) else ""
            at += 1
            if join == "]":
                break
            if join not in {"OR", "AND"}:
                raise Pattern(f"{join[:20] or 'an end'!r} where OR or ] should be")
            joins.append(join)
        if "AND" in joins and ("OR" in joins or not all(path.startswith("file:hashes.") for path in paths)):
            raise Pattern("it asks for several things at once")
        if at == len(tokens):
            break
        if tokens[at] != "OR":
            raise Pattern(f"{tokens[at][:20]} between observations")
        at += 1
    if len(found) > MOST:
        raise Pattern(f"{len(found)} values; {MOST} is the most")
    return found


def _tokens(pattern: str) -> Iterator[str]:
    if len(pattern) > _MAX_PATTERN:
        raise Pattern(f"{len(pattern):,} characters")
    at, end = 0, len(pattern.rstrip())
    while at < end:
        match = _TOKEN.match(pattern, at)
        if match is None:
            raise Pattern(f"cannot be read from character {at + 1} on")
        yield match[0].strip()
        at = match.end()


def _comparison(tokens: list[str], at: int) -> tuple[int, str, list[str]]:
    part = tokens[at : at + 3]
    if len(part) == 3 and part[1] == "=" and part[2][:1] == "'":
        return at + 3, part[0], [_text(part[2])]
    if len(part) == 3 and part[1:] == ["IN", "("]:
        values = []
        at += 3
        while at + 1 < len(tokens) and tokens[at][:1] == "'":
            values.append(_text(tokens[at]))
            at += 2
            if tokens[at - 1] == ")":
                return at, part[0], values
            if tokens[at - 1] != ",":
                break
    raise Pattern(f"not a comparison with one value: {' '.join(part)[:60]}")


def _text(token: str) -> str:
    return _ESCAPED.sub(r"\1", token[1:-1])


def _kind(path: str) -> str:
    if path.startswith("file:hashes."):
        return HASHES.get(path[12:].strip("'\"").upper(), "")
    return PATHS.get(path, "")


def records_of(thing: Any, now: datetime) -> list[Record | Aside]:
    """What one STIX object says. Objects of other types than indicator, sighting and opinion say nothing here."""
    if not isinstance(thing, dict):
        return [Aside("", str(thing)[:200], "not a STIX object")]
    type_, key = thing.get("type"), str(thing.get("id", ""))
    if type_ == "indicator":
        return _indicator(thing, key, now)
    if type_ == "sighting" and not thing.get("revoked"):
        return [Record(key=str(thing.get("sighting_of_ref", "")), words=(Word("seen", str(thing.get("created_by_ref", ""))),))]  # fmt: skip
    if type_ == "opinion" and not thing.get("revoked") and isinstance(thing.get("object_refs"), list):
        says = _OPINIONS.get(str(thing.get("opinion")))
        if says is None:
            return [Aside(key, str(thing.get("opinion"))[:200], "no opinion of STIX's vocabulary")]
        word = Word(says, str(thing.get("created_by_ref", "")), str(thing.get("explanation", ""))[:500])  # type: ignore[arg-type]
        return [Record(key=str(ref), words=(word,)) for ref in thing["object_refs"][:MOST]]
    return []


def _indicator(thing: dict[str, Any], key: str, now: datetime) -> list[Record | Aside]:
    pattern = thing.get("pattern")
    if not key.startswith("indicator--") or not isinstance(pattern, str):
        return [Aside(key, str(thing)[:200], "an indicator without id or pattern")]
    if thing.get("pattern_type", "stix") != "stix":
        return [Aside(key, pattern[:200], f"a pattern of type {str(thing['pattern_type'])[:40]}")]
    gone = thing.get("revoked") is True
    until = thing.get("valid_until")
    if until is not None:
        at = time_of(str(until))
        if at is None:
            return [Aside(key, str(until)[:200], "valid_until is no time")]
        gone = gone or at <= now
    try:
        values = values_of(pattern)
    except Pattern as why:
        return [Aside(key, pattern[:200], f"a pattern that is not taken: {why}")]
    label = str(thing.get("name", "") or "")
    return [
        Record(key=key if at == 0 else f"{key}#{at}", kind=kind, value=value, gone=gone, label=label, ref=key)
        for at, (kind, value) in enumerate(dict.fromkeys(values))
    ]


def time_of(text: str) -> datetime | None:
    """A time of STIX or TAXII, aware; None for what is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
