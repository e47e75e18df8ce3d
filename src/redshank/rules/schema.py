"""The names a rule can speak of, and their types, taken from the event's own schema so that the two cannot differ.

A value that the platform did not send is *missing*. A part that an event of some type never has (a follow has no post)
is missing there too, but that is nobody's fault: a rule is not even asked about events on which it could never fire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec
from msgspec import inspect

from redshank.core import Account, Event, Media, Post, Report, Reporter, Tie

EventClass = type[msgspec.Struct]


class Type(msgspec.Struct, frozen=True):
    """What kind of value an expression gives.

    `kind` is text, number, truth, time, duration, list or record; `choices` are the only texts there can be; `low` and
    `high` are the least and the greatest number there can be; `item` is a list's; `record` names a record's fields.
    """

    kind: Literal["text", "number", "truth", "time", "duration", "list", "record"]
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    item: Type | None = None
    record: str = ""

    def __str__(self) -> str:
        if self.kind == "list":
            return f"list of {self.item}s" if self.item and self.item.kind != "record" else "list"
        if self.kind == "truth":
            return "yes or no"
        return self.record or self.kind

    def describe(self) -> str:
        """With an article, for a sentence: `a text`, `a list of texts`, `an account`."""
        name = str(self)
        if self.kind == "truth":
            return name
        return f"an {name}" if name[0] in "aeiou" else f"a {name}"

    def like(self, other: Type) -> bool:
        """Whether a value of this type can be compared with one of `other`."""
        if self.kind == "list" and other.kind == "list":
            return self.item is None or other.item is None or self.item.like(other.item)
        return self.kind == other.kind and self.record == other.record


TEXT = Type("text")
NUMBER = Type("number")
TRUTH = Type("truth")
TIME = Type("time")
DURATION = Type("duration")
TEXTS = Type("list", item=TEXT)


class Field(msgspec.Struct, frozen=True):
    """One attribute: its type, whether it can be missing, and a sentence about it."""

    type: Type
    optional: bool
    sentence: str = ""


class EventType(msgspec.Struct, frozen=True):
    """One type of event: its struct, its parts (True where the part can be missing), and its own plain fields."""

    tag: str
    cls: EventClass
    parts: Mapping[str, bool]
    fields: Mapping[str, bool]


MAX_SKEW_HOURS = 24
"""An account that is younger than its event by more than this has an unknown age; by less, its age is 0."""

FINDING_KINDS = ("pdq", "part", "video", "md5", "sha1", "sha256", "sha512", "url", "domain", "term", "name")
"""As `core.findings` names what is compared. A rule that asks for another kind is warned."""

PASSING = frozenset(
    {
        "account.suspended",
        "account.restored",
        "account.deleted",
        "post.deleted",
        "follow.deleted",
        "action.updated",
    }
)
"""Events that take something away or are only news. A rule sees them only when it asks for `event.type`: what is known
to be bad needs no case because its author deletes it."""

EXTRA_TYPES: dict[str, Type] = {"text": TEXT, "number": NUMBER, "truth": TRUTH}
"""Types of declared fields; `Event.extra` holds plain values alone."""

_AGE = Type("duration", low=0)


def _type_of(info: inspect.Type) -> Type | None:
    """The language's type of a schema's type; None for what rules cannot speak of (bytes, free-form objects)."""
    match info:
        case inspect.Metadata(type=inner):
            return _type_of(inner)
        case inspect.StrType():
            return TEXT
        case inspect.IntType() | inspect.FloatType():
            return Type("number", low=None if info.ge is None else float(info.ge))
        case inspect.BoolType():
            return TRUTH
        case inspect.DateTimeType():
            return TIME
        case inspect.LiteralType(values=values) if all(isinstance(value, str) for value in values):
            return Type("text", choices=tuple(str(value) for value in values))
        case inspect.LiteralType():
            return NUMBER
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            inner_type = _type_of(item)
            return inner_type and Type("list", item=inner_type)
        case inspect.StructType(cls=cls):
            return Type("record", record=cls.__name__.lower())
        case inspect.UnionType(types=types):
            kept = [found for found in types if not isinstance(found, inspect.NoneType)]
            return _type_of(kept[0]) if len(kept) == 1 else None
        case _:
            return None


def _fields_of(cls: EventClass) -> dict[str, Field]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    out: dict[str, Field] = {}
    for field in info.fields:
        type_ = _type_of(field.type)
        if type_ is not None:
            optional = isinstance(field.type, inspect.UnionType) and field.type.includes_none
            out[field.name] = Field(type_, optional)
    return out


def _event_types() -> dict[str, EventType]:
    out: dict[str, EventType] = {}
    for cls in get_args(Event):
        tag = str(cls.__struct_config__.tag)
        fields = _fields_of(cls)
        out[tag] = EventType(
            tag,
            cls,
            {name: field.optional for name, field in fields.items() if field.type.kind == "record"},
            {name: field.optional for name, field in fields.items() if field.type.kind != "record"},
        )
    return out


EVENT_TYPES: dict[str, EventType] = _event_types()
BY_CLASS: dict[type, EventType] = {found.cls: found for found in EVENT_TYPES.values()}


def _records() -> dict[str, dict[str, Field]]:
    """Every record's fields by the record's name."""
    records = {cls.__name__.lower(): _fields_of(cls) for cls in (Account, Post, Media, Report, Reporter)}
    records["account"]["age"] = Field(_AGE, True, "Time from the account's creation to the event.")
    media = records["media"]
    for name in ("sha256", "md5", "pdq"):
        media[name] = Field(
            TEXT, True, f"The file's {name.upper()}, in lower-case hex: reckoned here where the file is."
        )
    records["followed account"] = dict(records["account"])
    records["account"]["labels"] = Field(TEXTS, False, "Our own labels on the account, as rules put them.")
    event: dict[str, Field] = {"type": Field(Type("text", choices=tuple(EVENT_TYPES)), False)}
    for found in EVENT_TYPES.values():
        own = _fields_of(found.cls)
        event |= {name: own[name] for name in found.fields if name not in event and name != "schema"}
    records["event"] = event
    records["finding"] = {
        name: Field(type_, optional, sentence) for name, (type_, optional, sentence) in _FINDING.items()
    }
    records["tie"] = {
        name: msgspec.structs.replace(field, sentence=_TIE[name]) for name, field in _fields_of(Tie).items()
    }
    return records


_TIE = {
    "account": "The id of the suspended account.",
    "band": "How sure.",
    "probability": "That both have one owner, 0 to 1.",
    "kinds": "The kinds of evidence that speak for it, the strongest first.",
    "state": "What a person said of it; `open` where nobody has yet.",
}
_FINDING: dict[str, tuple[Type, bool, str]] = {
    "detector": (TEXT, False, "The detector that saw it."),
    "kind": (TEXT, False, f"What was compared: {', '.join(FINDING_KINDS)}."),
    "score": (NUMBER, False, "The detector's measure of strength, 0 to 1; 1 for an exact match."),
    "seen": (TEXT, False, "What was found there: the hash, the link, the words."),
    "on": (
        Type("text", choices=("account", "followed", "post", "media", "report")),
        True,
        "The part of the event it was seen on; `media` is a file uploaded by itself.",
    ),
    "field": (TEXT, False, "The field it was seen in: `post.text`, `account.avatar`, `media:ID`."),
    "bank": (TEXT, True, "The bank of the matched entry."),
    "entry": (NUMBER, True, "The matched entry's number, which its page shows."),
    "policy": (TEXT, True, "The policy of that bank."),
    "severity": (Type("number", low=1, high=5), True, "The severity of that bank, 1 to 5."),
    "label": (TEXT, True, "The entry's label."),
    "source": (TEXT, True, "Where the entry comes from."),
    "confirmed": (
        TRUTH,
        True,
        "The entry is our own, or a person here agreed with it; no where another organization gave it, and nobody has yet.",
    ),
    "distance": (Type("number", low=0), True, "Hamming distance to the entry; missing where a match is exact."),
}

RECORDS: dict[str, dict[str, Field]] = _records()

ROOTS: dict[str, Field] = {
    "event": Field(Type("record", record="event"), False, "The event itself."),
    "account": Field(Type("record", record="account"), False, "Whoever did it."),
    "followed": Field(Type("record", record="followed account"), False, "Whom `account` follows."),
    "post": Field(Type("record", record="post"), False, "What was published."),
    "report": Field(Type("record", record="report"), False, "Who reported what, and why."),
    "media": Field(
        Type("list", item=Type("record", record="media")),
        False,
        "All pictures and videos of the event: the post's, the uploaded one, avatar and banner.",
    ),
    "findings": Field(
        Type("list", item=Type("record", record="finding")), False, "What the detectors saw on this event."
    ),
    "ties": Field(
        Type("list", item=Type("record", record="tie")),
        True,
        "What speaks for the account's owner having had one that was suspended; missing until it was sought.",
    ),
    "now": Field(TIME, False, "The time of judging. `event.at` is the time at which it happened."),
}
"""The names at the top of an expression."""

VALUE_PARTS = frozenset({"account", "followed", "post", "report"})
"""Roots that are a part of the event, which some types of event do not have."""


def missing_on(root: str, tag: str) -> Literal["never", "maybe", "always"]:
    """Whether a part of the event is missing on events of the type `tag`."""
    parts = EVENT_TYPES[tag].parts
    if root == "ties":
        return "maybe" if "account" in parts else "always"
    if root not in VALUE_PARTS:
        return "never"
    if root not in parts:
        return "always"
    return "maybe" if parts[root] else "never"


def field_missing_on(name: str, tag: str) -> Literal["never", "maybe", "always"]:
    """Whether `event.NAME` is missing on events of the type `tag`."""
    if name == "type":
        return "never"
    fields = EVENT_TYPES[tag].fields
    if name not in fields:
        return "always"
    return "maybe" if fields[name] else "never"
