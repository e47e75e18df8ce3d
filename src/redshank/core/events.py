"""What a platform tells us: one strict, versioned schema, decoded once at the door.

An event is a tagged union over `type`. Unknown fields are refused by name, so that a typing error is seen at once and
raw identifiers (addresses, mail, phone) cannot slip in; whatever else a platform wants to say fits into `extra`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from redshank.core.errors import BadInput

SCHEMA_VERSION = 1
MAX_TEXT = 100_000
MAX_MEDIA_BYTES = 8 * 1024 * 1024
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""No platform's event or account is older; an earlier date is a clock or a parser gone wrong."""
FUTURE_TOLERANCE = timedelta(hours=24)
"""How far ahead of ours a platform's clock may run before its events are refused."""

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Unique within its network; 1 to 200 characters, none of them control characters.",
    ),
]
Name = Annotated[str, Meta(max_length=1_000)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Url = Annotated[str, Meta(min_length=1, max_length=8_000)]
Network = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$",
        description="One platform, instance or service: lower-case letters, digits, dots and hyphens.",
    ),
]
Token = Annotated[
    str,
    Meta(
        pattern=r"^[a-z]{1,16}:(?:[a-z0-9.-]{1,32}:)?[A-Za-z0-9_-]{16,128}$",
        description="A keyed HMAC token with its purpose and, where keys change, its key's name: device:3q2-7wAAAAAAAAAAAAAA, "
        "mail:2026-q1:3q2-7wAAAAAAAAAAAAAA. Never a raw identifier.",
    ),
]
Hex64 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{32}$")]
Hex40 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{40}$")]
Hex128 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{128}$")]
Scalar = str | int | float | bool | None


class _Part(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class Media(_Part, frozen=True, kw_only=True):
    """An image or a video: its bytes, an address to fetch them from, or, where neither may leave, its hashes."""

    id: Id
    kind: Literal["image", "video"] | None = None
    data: (
        Annotated[bytes, Meta(max_length=MAX_MEDIA_BYTES, description="The file, in base64; 8 MiB at most.")] | None
    ) = None
    url: Url | None = None
    sha256: Hex64 | None = None
    md5: Hex32 | None = None
    sha1: Hex40 | None = None
    sha512: Hex128 | None = None
    pdq: Hex64 | None = None
    alt: Text | None = None


class Account(_Part, frozen=True, kw_only=True):
    """A person or organization on a network, as the platform knows it at the time of the event."""

    id: Id
    handle: Name | None = None
    display_name: Name | None = None
    bio: Text | None = None
    created_at: datetime | None = None
    followers: Annotated[int, Meta(ge=0)] | None = None
    following: Annotated[int, Meta(ge=0)] | None = None
    posts: Annotated[int, Meta(ge=0)] | None = None
    language: Name | None = None
    url: Url | None = None
    links: Annotated[tuple[Url, ...], Meta(max_length=100)] = ()
    mail_domain: Name | None = None
    automated: (
        Annotated[bool, Meta(description="Whether the account says of itself that a program runs it.")] | None
    ) = None
    tokens: Annotated[tuple[Token, ...], Meta(max_length=100)] = ()
    avatar: Media | None = None
    banner: Media | None = None


class Post(_Part, frozen=True, kw_only=True):
    """Something an account published: text, links, media."""

    id: Id
    text: Text = ""
    language: Name | None = None
    url: Url | None = None
    links: Annotated[tuple[Url, ...], Meta(max_length=1_000)] = ()
    mentions: Annotated[tuple[Id, ...], Meta(max_length=10_000)] = ()
    hashtags: Annotated[tuple[Name, ...], Meta(max_length=1_000)] = ()
    media: Annotated[tuple[Media, ...], Meta(max_length=100)] = ()
    reply_to: Id | None = None


class Reporter(_Part, frozen=True, kw_only=True):
    """Who tells us. The kind decides how soon a person must look."""

    kind: Literal["user", "trusted_flagger", "third_party", "authority"]
    id: Id | None = None
    name: Name | None = None


class Report(_Part, frozen=True, kw_only=True):
    """Somebody says that an account, a post or a media item breaks a policy."""

    id: Id
    subject_kind: Literal["account", "post", "media"]
    subject_id: Id
    reason: Name
    text: Text = ""
    reporter: Reporter


class Subject(msgspec.Struct, frozen=True, order=True):
    """What a case is about: one account, post or media item of one network. `account` is its owner, or empty."""

    network: str
    kind: str
    id: str
    account: str = ""


class _Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    gc=False,  # They hold no cycles, and a million of them cost the collector nothing.
):
    id: Id
    network: Network
    at: datetime
    schema: Literal[1] = 1
    extra: dict[str, Scalar] = {}


class AccountCreated(_Event, tag="account.created", frozen=True, kw_only=True):
    """An account came into being."""

    account: Account


class AccountUpdated(_Event, tag="account.updated", frozen=True, kw_only=True):
    """A profile changed; fields that are left out did not."""

    account: Account


class AccountSuspended(_Event, tag="account.suspended", frozen=True, kw_only=True):
    """The platform suspended an account, by itself or because we asked."""

    account: Account
    reason: Name | None = None


class AccountRestored(_Event, tag="account.restored", frozen=True, kw_only=True):
    """A suspension or restriction ended."""

    account: Account


class AccountDeleted(_Event, tag="account.deleted", frozen=True, kw_only=True):
    """An account is gone."""

    account: Account


class PostCreated(_Event, tag="post.created", frozen=True, kw_only=True):
    """An account published something."""

    account: Account
    post: Post


class PostUpdated(_Event, tag="post.updated", frozen=True, kw_only=True):
    """An account changed what it had published."""

    account: Account
    post: Post


class PostDeleted(_Event, tag="post.deleted", frozen=True, kw_only=True):
    """A post is gone."""

    account: Account
    post: Post


class MediaUploaded(_Event, tag="media.uploaded", frozen=True, kw_only=True):
    """An account uploaded a file, not yet or never part of a post."""

    account: Account
    media: Media


class FollowCreated(_Event, tag="follow.created", frozen=True, kw_only=True):
    """`account` began to follow `followed`."""

    account: Account
    followed: Account


class FollowDeleted(_Event, tag="follow.deleted", frozen=True, kw_only=True):
    """`account` no longer follows `followed`."""

    account: Account
    followed: Account


class ReportReceived(_Event, tag="report.received", frozen=True, kw_only=True):
    """A report reached the platform, which hands it on. `account` owns the subject, where the platform knows it."""

    report: Report
    account: Account | None = None
    post: Post | None = None


class ActionUpdated(_Event, tag="action.updated", frozen=True, kw_only=True):
    """The platform says what became of an action that we asked for."""

    action: Id
    state: Literal["confirmed", "failed"]
    reason: Name | None = None


Event = (
    AccountCreated
    | AccountUpdated
    | AccountSuspended
    | AccountRestored
    | AccountDeleted
    | PostCreated
    | PostUpdated
    | PostDeleted
    | MediaUploaded
    | FollowCreated
    | FollowDeleted
    | ReportReceived
    | ActionUpdated
)


class EventError(BadInput):
    """An event that cannot be taken: `where` is the field's path (`account.id`), `what` the reason."""


_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()
_NULL = re.compile(rb"((?<!\\)(?:\\\\)*)\\u0000")
_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


def decode_event(raw: bytes | str, *, now: datetime) -> Event:
    """The event in `raw`, one JSON object in UTF-8.

    `now` is the time of receipt, against which dates are checked. A null character in a text becomes U+FFFD: PostgreSQL
    can keep none, and nobody may hide a post by writing one. Raises `EventError` with the field's path and the reason.
    """
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogatepass")
    if b"\\u0000" in raw:
        raw = _NULL.sub(rb"\1\\ufffd", raw)
    try:
        event: Event = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except msgspec.DecodeError as error:
        raise EventError(_why_not_json(raw, error)) from None
    except RecursionError:
        raise EventError("nested too deeply") from None
    except UnicodeError:
        raise EventError("not valid UTF-8") from None
    _check_values(event, now)
    return event


_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(?P<name>[^`]*)`$")
_PATTERN = re.compile(r"^Expected `str` matching regex '(?P<pattern>.*)'$", re.DOTALL)
_SHAPES = {
    r"^[^\x00-\x1f\x7f]+$": "has a control character in it",
    r"^[a-z0-9][a-z0-9.-]{0,62}$": "is not a network's name: lower-case letters, digits, dots and hyphens, 63 at most",
    r"^[a-z]{1,16}:(?:[a-z0-9.-]{1,32}:)?[A-Za-z0-9_-]{16,128}$": "is not a keyed token such as device:3q2-7wAAAAAAAAAAAAAA",
    r"^[0-9a-fA-F]{64}$": "is not 64 hexadecimal digits",
    r"^[0-9a-fA-F]{32}$": "is not 32 hexadecimal digits",
}


def _named(message: str) -> EventError:
    """The decoder's message as field and reason."""
    found = _PATH.match(message)
    reason, path = (found["reason"], found["path"] or "") if found else (message, "")
    path = path.removeprefix("$").removeprefix(".")
    if field := _FIELD.match(reason):
        reason = "is missing" if field[1] == "missing required" else "is no field that we know"
        path = f"{path}.{field['name']}" if path else field["name"]
    elif shape := _PATTERN.match(reason):
        reason = _SHAPES.get(shape["pattern"].replace("\\\\", "\\"), reason)
    return EventError(reason, where=path)


def _why_not_json(raw: bytes | str, error: Exception) -> str:
    try:  # The standard library's reader takes a lone surrogate; nothing else that fails above passes it.
        json.loads(raw)
    except (ValueError, RecursionError):
        return f"not valid JSON: {error}"
    return "not valid Unicode: a lone surrogate (an escape from \\ud800 to \\udfff without its partner)"


_RAW = re.compile(
    r"\d+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{2}(?:[-_][0-9a-fA-F]{2}){5,7}|(?:\d+[-_])+\d+"
)
"""Numbers, UUIDs and hardware addresses: identifiers as they are, which no HMAC looks like."""


def _check_values(event: Event, now: datetime) -> None:
    _check_date("at", event.at, now)
    for name in ("account", "followed"):
        account = getattr(event, name, None)
        if account is not None and account.tokens:
            for place, token in enumerate(account.tokens):
                if _RAW.fullmatch(token.rpartition(":")[2]):
                    raise EventError(
                        "looks like a raw identifier", where=f"{name}.tokens[{place}]", hint="Send a keyed HMAC of it."
                    )
        if account is not None and account.created_at is not None:
            _check_date(f"{name}.created_at", account.created_at, now)


def _check_date(path: str, value: datetime, now: datetime) -> None:
    if value.tzinfo is None:
        raise EventError("a time without a zone", where=path, hint="Write it as 2026-01-31T12:00:00Z.")
    if value < EARLIEST:
        raise EventError(f"a time before {EARLIEST.year}", where=path)
    if value > now + FUTURE_TOLERANCE:
        raise EventError(f"a time more than {FUTURE_TOLERANCE.days} day ahead of ours", where=path)


def encode_event(event: Event) -> bytes:
    """`event` as one line of JSON. Decoding it gives an equal event."""
    return _encoder.encode(event)


def event_schema() -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON Schema of an event, and the schemas of its parts, as OpenAPI 3.1 wants them under components."""
    (schema,), components = msgspec.json.schema_components([Event], ref_template="#/components/schemas/{name}")
    return schema, components


def subject_of(event: Event) -> Subject | None:
    """What a case about this event would be about; None for events that are only news of an action or a follow."""
    if isinstance(event, PostCreated | PostUpdated | PostDeleted):
        return Subject(event.network, "post", event.post.id, event.account.id)
    if isinstance(event, MediaUploaded):
        return Subject(event.network, "media", event.media.id, event.account.id)
    if isinstance(event, ReportReceived):
        owner = event.account.id if event.account else ""
        if event.report.subject_kind == "account":
            owner = event.report.subject_id
        return Subject(event.network, event.report.subject_kind, event.report.subject_id, owner)
    if isinstance(event, ActionUpdated):
        return None
    return Subject(event.network, "account", event.account.id, event.account.id)
