"""What is gathered of an account from the events that speak of it, bit by bit, in any order, within fixed bounds.

The one idea: evidence is a small heap that only grows by what an event adds, and knows what that was. Lists that a
stranger can make endless are kept as the same sample of themselves everywhere, so that two samples can still be compared.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from redshank.core import (
    Account,
    AccountCreated,
    AccountUpdated,
    Event,
    FollowCreated,
    FollowDeleted,
    PostCreated,
)
from redshank.evasion.evidence import DECLARED, FOLLOW, FOLLOWER, HABIT, LIMITS, LINK, MENTION
from redshank.evasion.profiles import PURPOSES, KeyedToken, Profile
from redshank.text import find_links, normalize_link

MAX_NAME, MAX_BIO, MAX_POST = 200, 2_000, 5_000
"""Code points of a name, a bio, a post that are read; the rest says nothing more of its owner."""
MAX_TOKENS = 40
MAX_HABITS = 64
ENOUGH_POSTS, OFTEN = 5, 0.1
"""Ways of writing are told from so many posts on, if so large a share of them shows one, and two at least."""
Change = Literal["profile", "follow", "follower", "post", "token"]

_HABIT = re.compile(r"[!?.,…]{2,}|[()]{2,}|\s[!?;:](?=\s|$)|\s,|\s-\s|—|\"{2}|'{2}|[~^*_]{2,}")
_FEDIVERSE = re.compile(r"(?<![\w@])@([\w.-]{1,64})@((?:[\w-]{1,63}\.){1,8}[a-z]{2,24})")


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A keyed token, and when it was last told, in seconds since 1970."""

    purpose: str
    key: str
    value: str
    at: int


class Evidence(msgspec.Struct, array_like=True, kw_only=True):
    """One account's heap. Its fields are those of `Profile`, as they are gathered; times are seconds since 1970.

    `links` hold those of the profile and of posts; `told_at` is the time of the newest profile that was told.
    """

    told_at: float = 0.0
    handle: str = ""
    display_name: str = ""
    bio: str = ""
    url: str = ""
    language: str = ""
    avatar: bytes = b""
    banner: bytes = b""
    links: list[str] = []
    declared: list[str] = []
    follows: list[str] = []
    follow_count: int = 0
    followers: list[str] = []
    mentions: list[str] = []
    tokens: list[Seen] = []
    hours: list[int] = []
    habits: dict[str, int] = {}
    languages: dict[str, int] = {}
    posts: int = 0
    created_at: int = 0
    own: list[str] = []


class Pictures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Perceptual hashes, 32 bytes each, of the pictures of an event's account, where they are known."""

    avatar: bytes = b""
    banner: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Evidence)


def pack(evidence: Evidence) -> bytes:
    """The evidence as bytes for the store."""
    return zlib.compress(_encoder.encode(evidence), 1)


def unpack(packed: bytes) -> Evidence:
    """The evidence that `pack` made these bytes of; an empty heap of no bytes."""
    return _decoder.decode(zlib.decompress(packed)) if packed else Evidence()


def gather(evidence: Evidence, event: Event, account_id: str, pictures: Pictures = Pictures()) -> set[Change]:  # noqa: B008 - frozen
    """Add to `evidence` of the account `account_id` what `event` says of it; give what changed.

    `pictures` are hashes of the event's own account's pictures that were made here; the platform's own count else.
    """
    changed: set[Change] = set()
    account: Account | None = getattr(event, "account", None)
    if account is not None and account.id == account_id:
        changed |= _tell(evidence, account, event, pictures, whole=isinstance(event, AccountCreated | AccountUpdated))
        if isinstance(event, FollowCreated) and event.followed.id != account_id:
            if _add(evidence.follows, known_as(event.network, event.followed.id), FOLLOW):
                changed.add("follow")
            evidence.follow_count += 1
        elif isinstance(event, FollowDeleted):
            if (gone := known_as(event.network, event.followed.id)) in evidence.follows:
                evidence.follows.remove(gone)
        elif isinstance(event, PostCreated):
            _read_post(evidence, event)
            changed.add("post")
    elif account is not None:
        followed = isinstance(event, FollowCreated) and event.followed.id == account_id
        greeted = isinstance(event, PostCreated) and account_id in event.post.mentions
        if (followed or greeted) and _add(evidence.followers, known_as(event.network, account.id), FOLLOWER):
            changed.add("follower")
    return changed


def known_as(network: str, account_id: str) -> str:
    """What an account is called in evidence: by its network and id, since another network's account of that id is another one;
    an id that names it everywhere (an address, a DID, name@host) stands for itself."""
    everywhere = "://" in account_id or "@" in account_id or account_id.startswith("did:")
    return account_id if everywhere else f"{network}/{account_id}"


def spoken_of(event: Event) -> list[str]:
    """The accounts that an event is evidence about: who did it, whom they follow, whom they mention."""
    out = []
    if (account := getattr(event, "account", None)) is not None:
        out.append(account.id)
    if (followed := getattr(event, "followed", None)) is not None:
        out.append(followed.id)
    if isinstance(event, PostCreated):
        out += event.post.mentions[: int(LIMITS[MENTION])]
    return out


def _tell(evidence: Evidence, account: Account, event: Event, pictures: Pictures, *, whole: bool) -> set[Change]:
    changed: set[Change] = set()
    seconds = event.at.timestamp()
    newer = seconds >= evidence.told_at
    for name, most in (
        ("handle", MAX_NAME),
        ("display_name", MAX_NAME),
        ("bio", MAX_BIO),
        ("language", 40),
        ("url", 500),
    ):
        value = (getattr(account, name) or "")[:most]
        if value and value != getattr(evidence, name) and (newer or not getattr(evidence, name)):
            setattr(evidence, name, value)
            changed.add("profile")
    for name in ("avatar", "banner"):
        media = getattr(account, name)
        found = getattr(pictures, name) or (bytes.fromhex(media.pdq) if media is not None and media.pdq else b"")
        if found and any(found) and found != getattr(evidence, name) and (newer or not getattr(evidence, name)):
            setattr(evidence, name, found)
            changed.add("profile")
    if account.created_at is not None and not evidence.created_at:
        evidence.created_at = max(0, int(account.created_at.timestamp()))
    if account.links or account.bio or account.url:
        written = [*account.links, *(link for _a, _b, link in find_links((account.bio or "")[:MAX_BIO]))]
        for link in written[:100]:
            if _link(evidence, link):
                changed.add("profile")
            if named := _identity(link):
                _add(evidence.declared, named, DECLARED)
        for name, host in _FEDIVERSE.findall((account.bio or "")[:MAX_BIO]):
            _add(evidence.declared, f"{host}/{name}".lower(), DECLARED)
    handle = account.handle.removeprefix("@")[:MAX_NAME].lower() if account.handle else ""
    for own in (_identity(account.url) if account.url else "", f"{event.network}/{handle}" if handle else ""):
        if own:
            _add(evidence.own, own, DECLARED)
    for token in account.tokens:
        if (read := read_token(token)) is not None and _see(evidence, read, int(seconds)):
            changed.add("token")
    if newer and whole:
        evidence.told_at = seconds
    return changed


def read_token(text: str) -> tuple[str, str, str] | None:
    """Purpose, key and value of `purpose:value` or `purpose:key:value`; None for a purpose that we do not compare."""
    purpose, _colon, rest = text.partition(":")
    key, colon, value = rest.partition(":")
    if purpose not in PURPOSES:
        return None
    return (purpose, key, value) if colon else (purpose, "", key)


def _see(evidence: Evidence, token: tuple[str, str, str], at: int) -> bool:
    before = len(evidence.tokens)
    kept = [seen for seen in evidence.tokens if (seen.purpose, seen.key, seen.value) != token]
    known = len(kept) < before
    newest = max((seen.at for seen in evidence.tokens if (seen.purpose, seen.key, seen.value) == token), default=at)
    kept.append(Seen(*token, max(at, newest)))
    evidence.tokens = sorted(kept, key=lambda seen: -seen.at)[:MAX_TOKENS]
    return not known


def _read_post(evidence: Evidence, event: PostCreated) -> None:
    post = event.post
    evidence.posts += 1
    evidence.hours = evidence.hours or [0] * 24
    evidence.hours[event.at.hour] += 1
    for mentioned in post.mentions[: int(LIMITS[MENTION])]:
        if mentioned != event.account.id:
            _add(evidence.mentions, known_as(event.network, mentioned), MENTION)
    text = post.text[:MAX_POST]
    for link in [*post.links, *(link for _a, _b, link in find_links(text))][:50]:
        _link(evidence, link)
    if post.language:
        language = post.language[:40]
        if language in evidence.languages or len(evidence.languages) < 10:
            evidence.languages[language] = evidence.languages.get(language, 0) + 1
    for habit in habits_of(text, post.hashtags):
        if habit in evidence.habits:
            evidence.habits[habit] += 1
        else:
            if len(evidence.habits) >= MAX_HABITS:
                for rare in [name for name, count in evidence.habits.items() if count < 2]:
                    del evidence.habits[rare]
            if len(evidence.habits) < MAX_HABITS:
                evidence.habits[habit] = 1


def habits_of(text: str, hashtags: Iterable[str] = ()) -> set[str]:
    """Ways of writing that one post shows: hashtags, pictures and signs, punctuation, case. Never what it says."""
    found = {f"#{tag.lower().removeprefix('#')}" for tag in hashtags if 0 < len(tag) <= 80}
    found |= {"p" + run[:3] for run in _HABIT.findall(text)[:50]}
    found |= {"s" + char for char in text if ord(char) > 0x2000 and unicodedata.category(char) == "So"}
    letters = [char for char in text if char.isalpha() and char.lower() != char.upper()]
    if len(letters) >= 12:
        capitals = sum(char.isupper() for char in letters) / len(letters)
        if capitals == 0:
            found.add("c none")
        elif capitals > 0.6:
            found.add("c all")
    return found


def _link(evidence: Evidence, written: str) -> bool:
    link = normalize_link(written)
    if link is None:
        return False
    last = (link, *link.inner)[-1]
    added = _add(evidence.links, last.host.removeprefix("www."), LINK)
    if urlsplit(last.url).path.strip("/"):
        added |= _add(evidence.links, last.url.removeprefix("https://").removeprefix("www.")[:300], LINK)
    return added


def _identity(written: str) -> str:
    """The account that a link to a profile names, as `host/name`; empty where it has not the form of one."""
    link = normalize_link(written)
    if link is None:
        return ""
    path = urlsplit(link.url).path.strip("/")
    if not path or "/" in path or len(path) > 64 or "." in path.lstrip("@")[:1]:
        return ""
    return f"{link.host.removeprefix('www.')}/{path.removeprefix('@').lower()}"


def _add(kept: list[str], value: str, kind: int) -> bool:
    """Keep `value`; of more than the kind's limit, those whose checksums are smallest, which is the same sample anywhere.

    A full list stands in the order of checksums, so that the millionth value costs no more than the first.
    """
    limit = int(LIMITS[kind])
    if len(kept) < limit:
        if value in kept:
            return False
        kept.append(value)
        if len(kept) == limit:
            kept.sort(key=_rank)
        return True
    rank = _rank(value)
    if rank >= _rank(kept[-1]):
        return False
    place = bisect.bisect_left(kept, rank, key=_rank)
    if kept[place] == value:
        return False
    kept.insert(place, value)
    kept.pop()
    return True


def _rank(value: str) -> tuple[int, str]:
    return zlib.crc32(value.encode("utf-8", "surrogatepass")), value


def merged(first: Evidence, others: Sequence[Evidence]) -> Evidence:
    """The evidence of one owner's accounts: what names `first`, with what all of them did."""
    whole = msgspec.structs.replace(
        first,
        links=[*first.links], declared=[*first.declared], own=[*first.own], follows=[*first.follows], followers=[*first.followers],
        mentions=[*first.mentions], tokens=[*first.tokens], hours=[*first.hours] or [0] * 24, habits={**first.habits},
    )  # fmt: skip
    for other in others:
        for mine, theirs, kind in (
            (whole.links, other.links, LINK),
            (whole.declared, other.declared, DECLARED),
            (whole.own, other.own, DECLARED),
            (whole.follows, other.follows, FOLLOW),
            (whole.followers, other.followers, FOLLOWER),
            (whole.mentions, other.mentions, MENTION),
        ):
            known = set(mine)
            for value in theirs:
                if value not in known:
                    _add(mine, value, kind)
        for seen in other.tokens:
            _see(whole, (seen.purpose, seen.key, seen.value), seen.at)
        whole.hours = [a + b for a, b in zip(whole.hours, other.hours or [0] * 24, strict=True)]
        for habit, count in other.habits.items():
            whole.habits[habit] = whole.habits.get(habit, 0) + count
        whole.posts += other.posts
        whole.bio = " ".join(filter(None, (whole.bio, other.bio)))[:MAX_BIO]
    whole.habits = dict(sorted(whole.habits.items(), key=lambda item: (-item[1], item[0]))[:MAX_HABITS])
    return whole


def profile_of(evidence: Evidence, number: int, *, ended_at: int = 0, oldest_token: int = 0) -> Profile:
    """The evidence as a profile for the index and the scorer. Tokens last told before `oldest_token` are left out."""
    habits: tuple[str, ...] = ()
    if evidence.posts >= ENOUGH_POSTS:
        least = max(2, OFTEN * evidence.posts)
        often = sorted((-count, name) for name, count in evidence.habits.items() if count >= least)
        habits = tuple(name for _count, name in often[: int(LIMITS[HABIT])])
    language = max(evidence.languages, key=lambda name: (evidence.languages[name], name), default=evidence.language)
    return Profile(
        number=number,
        handle=evidence.handle,
        display_name=evidence.display_name,
        bio=evidence.bio,
        language=language.lower().partition("-")[0],
        avatar=evidence.avatar,
        banner=evidence.banner,
        links=tuple(evidence.links),
        declared=tuple(evidence.declared),
        own=tuple(evidence.own),
        follows=tuple(evidence.follows),
        followers=tuple(evidence.followers),
        mentions=tuple(evidence.mentions),
        habits=habits,
        tokens=tuple(
            KeyedToken(seen.purpose, seen.key, seen.value) for seen in evidence.tokens if seen.at >= oldest_token
        ),
        hours=tuple(evidence.hours),
        created_at=min(evidence.created_at, 2**32 - 1),
        ended_at=ended_at,
    )


def forget_tokens(evidence: Evidence, *, oldest: int, live_keys: Collection[str] | None) -> bool:
    """Drop tokens that were last told before `oldest`, and those under keys that are not live; whether any went."""
    before = len(evidence.tokens)
    evidence.tokens = [
        seen for seen in evidence.tokens if seen.at >= oldest and (live_keys is None or seen.key in live_keys)
    ]
    return len(evidence.tokens) < before


class Shared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What two accounts have in common, thing by thing; of long lists some are named, and all are counted."""

    follows: tuple[str, ...] = ()
    followers: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    habits: tuple[str, ...] = ()
    counts: dict[str, int] = {}


SHOWN = 24


def shared_by(one: Evidence, other: Evidence) -> Shared:
    """What `one` and `other` share; `declared` are the addresses of `other` that `one` calls its own. Of tokens only their
    purposes are named."""
    counts: dict[str, int] = {}
    named: dict[str, tuple[str, ...]] = {}
    for name in ("follows", "followers", "mentions", "links", "declared"):
        there = set(other.own if name == "declared" else getattr(other, name))
        both = [value for value in getattr(one, name) if value in there]
        if both:
            counts[name], named[name] = len(both), tuple(both[:SHOWN])
    mine = {(seen.purpose, seen.key, seen.value) for seen in one.tokens}
    tokens = sorted({seen.purpose for seen in other.tokens if (seen.purpose, seen.key, seen.value) in mine})
    habits = [name[1:] for name, count in one.habits.items() if count > 1 and other.habits.get(name, 0) > 1]
    return Shared(**named, tokens=tuple(tokens), habits=tuple(habits[:SHOWN]), counts=counts)
