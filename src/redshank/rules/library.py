"""The functions that rules can call: one declaration gives the type check, the documentation and the run-time.

Every function is total and pure: on values that are there it always answers, in time linear in them. A missing argument
gives a missing answer, but for `known`. Text functions do not tell case or spelling variants of a letter apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import re2

from redshank.core import Account, Event, Finding, Frames, Media, MediaUploaded, Part, Span, Tie
from redshank.rules.counting import MOST, WINDOWS
from redshank.rules.schema import (
    DURATION,
    FINDING_KINDS,
    NUMBER,
    TEXT,
    TEXTS,
    TIME,
    TRUTH,
    Type,
)
from redshank.text import Folded, find_links, fold, normalize_link

MAX_PATTERN = 2_000
"""Characters of a regular expression."""
MAX_DAYS = 36_500
"""Largest duration: a hundred years. Sums of them and of any time stay within what the calendar can hold."""


class ArgumentError(Exception):
    """A constant argument that will not do. `parameter` names it; `index` is its place where it may be given often."""

    def __init__(
        self, parameter: str, message: str, *, hint: str = "", index: int = 0, at: tuple[int, int] | None = None
    ) -> None:
        self.parameter = parameter
        self.message = message
        self.hint = hint
        self.index = index
        self.at = at
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """`types` are what it takes (none: anything); a `constant` one must stand in the rule itself.

    `many` takes one or more in a row; `keyword` ones are named and may be left out; `several` may be a list of
    constants.
    """

    name: str
    types: tuple[Type, ...] = ()
    constant: bool = False
    many: bool = False
    keyword: bool = False
    several: bool = False
    required: bool = True
    choices: tuple[str, ...] = ()
    path: bool = False


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function. `make` gets the constant arguments by name and gives what is called with the others.

    `implicit` are names whose values go before them; `prepare` names a function of `PREPARATIONS` that the others go
    through first, once an event however many calls need it.
    """

    name: str
    group: str
    parameters: tuple[Parameter, ...]
    returns: Type
    sentence: str
    example: str
    cost: float
    make: Callable[[dict[str, Any]], Callable[..., Any]]
    implicit: tuple[str, ...] = ()
    prepare: str = ""
    takes_missing: bool = False
    may_be_missing: bool = False

    @property
    def signature(self) -> str:
        """As it stands in the documentation: `contains(text, words…)`."""
        parts = []
        for found in self.parameters:
            name = found.name + ("…" if found.many else "") + ("=" if found.keyword else "")
            parts.append(name if found.required else f"[{name}]")
        return f"{self.name}({', '.join(parts)})"


# --- text ---------------------------------------------------------------------------------------------------------


def folded_terms(words: tuple[str, ...]) -> list[str]:
    """`words` as they are looked for in folded text. Raises `ArgumentError` for one that is empty."""
    out = []
    for index, word in enumerate(words):
        folded = fold(word).text
        if not folded.strip():
            raise ArgumentError(
                "words", "an empty text is in every text", hint="Write the words to look for.", index=index
            )
        out.append(folded)
    return out


def _contains(constants: dict[str, Any]) -> Callable[[Folded], bool]:
    terms = folded_terms(constants["words"])

    def contains(folded: Folded) -> bool:
        return any(term in folded.text for term in terms)

    return contains


def _word(constants: dict[str, Any]) -> Callable[[Folded], bool]:
    from redshank.matching import TermIndex  # Here, because its room takes a second to load and most rules need it not.

    index = TermIndex(enumerate(folded_terms(constants["words"])))

    def word(folded: Folded) -> bool:
        return bool(index.find(folded))

    return word


def regex(pattern: str, *, captures: bool = False) -> Any:
    """`pattern` compiled by RE2, ignoring case. Raises `ArgumentError` where RE2 refuses it."""
    if len(pattern) > MAX_PATTERN:
        raise ArgumentError("pattern", f"a pattern of more than {MAX_PATTERN} characters", hint="Use a bank of terms.")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = not captures
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = (
            error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        )
        raise _regex_error(pattern, reason) from None


def _regex_error(pattern: str, reason: str) -> ArgumentError:
    kind, _, fragment = reason.partition(": ")
    at = pattern.find(fragment) if fragment else -1
    span = (at, at + len(fragment)) if at >= 0 else None
    hint = ""
    if kind.startswith("invalid perl operator") and fragment.startswith(("(?<", "(?=", "(?!")):
        hint = "Patterns are RE2's, which takes linear time and so has no look-around: match the neighbor as well."
    elif kind.startswith("invalid escape") and fragment[1:2].isdigit():
        hint = "Patterns are RE2's, which takes linear time and so has no back-references."
    elif kind.startswith("invalid repetition size"):
        hint = "RE2 repeats at most 1,000 times, nested repetitions multiplied."
    return ArgumentError("pattern", f"not a regular expression: {reason}", hint=hint, at=span)


def utf8(text: str) -> bytes:
    """`text` as RE2 reads it. What is no Unicode (a lone surrogate) becomes a question mark."""
    return text.encode("utf-8", "replace")


def _matches(constants: dict[str, Any]) -> Callable[[bytes], bool]:
    search = regex(constants["pattern"]).search

    def matches(encoded: bytes) -> bool:
        return search(encoded) is not None

    return matches


def _script(constants: dict[str, Any]) -> Callable[[bytes], bool]:
    name = constants["name"]
    try:
        search = regex(rf"\p{{{re2.escape(name)}}}").search
    except ArgumentError:
        hint = "Scripts are called Latin, Cyrillic, Arabic, Han, …, with a capital."
        raise ArgumentError("name", f'Unicode has no script "{name}"', hint=hint) from None
    return lambda encoded: search(encoded) is not None


def _language(constants: dict[str, Any]) -> Callable[[str], bool]:
    wanted = tuple(tag.lower().replace("_", "-") for tag in constants["tags"])

    def language(tag: str) -> bool:
        low = tag.lower().replace("_", "-")
        return any(low == want or low.startswith(want + "-") for want in wanted)

    return language


def _domain(_constants: dict[str, Any]) -> Callable[[str], str | None]:
    def domain(link: str) -> str | None:
        found = normalize_link(link)
        return found.host.removeprefix("www.") if found else None

    return domain


def _links_in(_constants: dict[str, Any]) -> Callable[[str], tuple[str, ...]]:
    return lambda text: tuple(link for _, _, link in find_links(text))


# --- time ---------------------------------------------------------------------------------------------------------


def _durations(unit: str, days: float) -> Callable[[dict[str, Any]], Callable[[], timedelta]]:
    def make(constants: dict[str, Any]) -> Callable[[], timedelta]:
        number = constants["number"]
        if abs(number * days) > MAX_DAYS:
            raise ArgumentError("number", "longer than a hundred years")
        value = timedelta(**{unit: number})
        return lambda: value

    return make


def _time(constants: dict[str, Any]) -> Callable[[], datetime]:
    text = constants["text"]
    hint = "Write it as 2026-07-01 or 2026-07-01T12:00:00Z."
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentError("text", f'"{text}" is not a time', hint=hint) from None
    if value.tzinfo is None:
        if "T" in text or " " in text:
            raise ArgumentError("text", "a time without a zone", hint=hint)
        value = value.replace(tzinfo=UTC)
    if not 1900 <= value.year <= 2200:
        raise ArgumentError("text", "a time before 1900 or after 2200", hint=hint)
    return lambda: value


# --- lists and labels ---------------------------------------------------------------------------------------------


def _len(_constants: dict[str, Any]) -> Callable[[Collection[Any]], int]:
    return len


def _tokens(constants: dict[str, Any]) -> Callable[[Account], tuple[str, ...]]:
    head = f"{constants['purpose']}:"
    return lambda account: tuple(token for token in account.tokens if token.startswith(head))


def _hashes(_constants: dict[str, Any]) -> Callable[..., Any]:
    return tuple  # What was reckoned here goes before what the platform sent: the compiler sees to that.


def _domains(constants: dict[str, Any]) -> Callable[[Iterable[str]], tuple[str, ...]]:
    one = _domain(constants)
    return lambda links: tuple(dict.fromkeys(host for link in links if (host := one(link)) is not None))


# --- findings -----------------------------------------------------------------------------------------------------


def field_of(finding: Finding) -> str:
    """The field a finding was seen in; `media:ID` for parts of a video or picture."""
    where = finding.where
    if isinstance(where, Frames | Part):
        return f"media:{where.media}"
    return where.field


def part_of(event: Event, finding: Finding) -> str | None:
    """The part of the event that a finding was seen on; None where its place is in none."""
    return _part(event, field_of(finding))


def _part(event: Event, field: str) -> str | None:
    head, colon, name = field.partition(":")
    if head == "media" and colon:
        return _owner_of(event, name)
    head = field.partition(".")[0]
    return head if head in ("account", "followed", "post", "media", "report") else None


def _owner_of(event: Event, media_id: str) -> str | None:
    """The part that carries the media item: a post's own come first, since the same file may be an avatar as well."""
    post = getattr(event, "post", None)
    if post is not None and any(item.id == media_id for item in post.media):
        return "post"
    if isinstance(event, MediaUploaded) and event.media.id == media_id:
        return "media"
    for part in ("account", "followed"):
        account = getattr(event, part, None)
        if account is not None and any(
            item is not None and item.id == media_id for item in (account.avatar, account.banner)
        ):
            return part
    return None


def media_of(event: Event) -> tuple[Media, ...]:
    """All pictures and videos of the event: the post's, the uploaded one, avatars and banners."""
    out: list[Media] = []
    post = getattr(event, "post", None)
    if post is not None:
        out += post.media
    if isinstance(event, MediaUploaded):
        out.append(event.media)
    for part in ("account", "followed"):
        account = getattr(event, part, None)
        if account is not None:
            out += [item for item in (account.avatar, account.banner) if item is not None]
    return tuple(out)


class Filter:
    """Which findings a call of `matched` or `severity` means."""

    __slots__ = ("_banks", "_confirmed", "_kinds", "_labels", "_on", "_policies", "_severity")

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self._banks = frozenset(constants.get("banks", ()))
        self._kinds = frozenset(constants.get("kind", ()))
        self._policies = frozenset(constants.get("policy", ()))
        self._labels = frozenset(constants.get("label", ()))
        self._on = frozenset(constants.get("on", ()))
        self._severity = constants.get("severity", 0)
        self._confirmed = constants.get("confirmed")

    def select(self, findings: Iterable[Finding], event: Event) -> list[Finding]:
        """Those of `findings` that are meant."""
        return [finding for finding in findings if self._means(finding, event)]

    def _means(self, finding: Finding, event: Event) -> bool:
        match = finding.match
        return (
            match is not None
            and match.severity >= self._severity
            and (not self._kinds or finding.kind in self._kinds)
            and (not self._banks or match.bank in self._banks)
            and (not self._policies or match.policy in self._policies)
            and (not self._labels or match.label in self._labels)
            and (not self._on or part_of(event, finding) in self._on)
            and (self._confirmed is None or match.confirmed == self._confirmed)
        )


def _matched(constants: dict[str, Any]) -> Callable[[tuple[Finding, ...], Event], bool]:
    _check_filter(constants)
    select = Filter(constants).select
    return lambda findings, event: bool(findings) and bool(select(findings, event))


def _severity(constants: dict[str, Any]) -> Callable[[tuple[Finding, ...], Event], int]:
    _check_filter(constants)
    select = Filter(constants).select

    def severity(findings: tuple[Finding, ...], event: Event) -> int:
        if not findings:
            return 0
        return max((found.match.severity for found in select(findings, event) if found.match is not None), default=0)

    return severity


def _check_filter(constants: Mapping[str, Any]) -> None:
    severity = constants.get("severity", 1)
    if severity not in (1, 2, 3, 4, 5):
        raise ArgumentError("severity", "a severity runs from 1 to 5")


_FILTER = (
    Parameter(
        name="kind", types=(TEXT,), constant=True, keyword=True, several=True, required=False, choices=FINDING_KINDS
    ),
    Parameter(name="policy", types=(TEXT,), constant=True, keyword=True, several=True, required=False),
    Parameter(name="label", types=(TEXT,), constant=True, keyword=True, several=True, required=False),
    Parameter(
        name="on",
        types=(TEXT,),
        constant=True,
        keyword=True,
        several=True,
        required=False,
        choices=("account", "followed", "post", "media", "report"),
    ),
    Parameter(name="confirmed", types=(TRUTH,), constant=True, keyword=True, required=False),
)
_BANKS = Parameter(name="banks", types=(TEXT,), constant=True, many=True, required=False)
_TEXT = Parameter(name="text", types=(TEXT,))
_WORDS = Parameter(name="words", types=(TEXT,), constant=True, many=True)
_NUMBER = Parameter(name="number", types=(NUMBER,), constant=True)


def _known(_constants: dict[str, Any]) -> Callable[[Any], bool]:
    return lambda value: value is not None


_COUNT = Type("number", low=0, high=MOST)
_PER = Parameter(name="per", types=(TEXT, TEXTS), keyword=True)
_OVER = Parameter(name="over", types=(TEXT,), constant=True, keyword=True, choices=tuple(WINDOWS))
_WHERE = Parameter(name="where", types=(TRUTH,), keyword=True, required=False)


def _duration_function(name: str, unit: str, days: float, example: str) -> Function:
    return Function(
        name=name,
        group="time",
        parameters=(_NUMBER,),
        returns=DURATION,
        sentence=f"A stretch of {name}; the number may have a fraction.",
        example=example,
        cost=0,
        make=_durations(unit, days),
    )


_ALL = (
    Function(
        name="contains",
        group="text",
        parameters=(_TEXT, _WORDS),
        returns=TRUTH,
        sentence="One of the words stands in the text, within a longer word as well.",
        example='contains(post.text, "dm for invite", "dm me")',
        cost=130,
        make=_contains,
        prepare="fold",
    ),
    Function(
        name="word",
        group="text",
        parameters=(_TEXT, _WORDS),
        returns=TRUTH,
        sentence="One of the words, or runs of words, stands in the text by itself, not within a longer word.",
        example='word(account.bio, "brigade 77")',
        cost=900,
        make=_word,
        prepare="fold",
    ),
    Function(
        name="matches",
        group="text",
        parameters=(_TEXT, Parameter(name="pattern", types=(TEXT,), constant=True)),
        returns=TRUTH,
        sentence="The regular expression (RE2's syntax) is found somewhere in the text. Case does not count; `(?-i)` makes it count.",
        example=r'matches(account.handle, "^wolf[0-9]{2,4}$")',
        cost=1300,
        make=_matches,
        prepare="utf8",
    ),
    Function(
        name="script",
        group="text",
        parameters=(_TEXT, Parameter(name="name", types=(TEXT,), constant=True)),
        returns=TRUTH,
        sentence="At least one character of the text is of that script, as Unicode names it.",
        example='script(account.handle, "Latin") and script(account.handle, "Cyrillic")',
        cost=1300,
        make=_script,
        prepare="utf8",
    ),
    Function(
        name="language",
        group="text",
        parameters=(
            Parameter(name="tag", types=(TEXT,)),
            Parameter(name="tags", types=(TEXT,), constant=True, many=True),
        ),
        returns=TRUTH,
        sentence='The language tag means one of the languages, in whatever region: "pt-BR" is "pt".',
        example='language(post.language, "en", "de")',
        cost=500,
        make=_language,
    ),
    Function(
        name="domain",
        group="text",
        parameters=(Parameter(name="link", types=(TEXT,)),),
        returns=TEXT,
        sentence="The host of a link, in lower case and without `www.`; missing where it is no link.",
        example='any(domain(link) in list("shorteners") for link in post.links)',
        cost=8000,
        make=_domain,
        may_be_missing=True,
    ),
    Function(
        name="links_in",
        group="text",
        parameters=(_TEXT,),
        returns=TEXTS,
        sentence="The links that stand in a text, as written.",
        example="len(links_in(post.text)) > 5",
        cost=5000,
        make=_links_in,
    ),
    _duration_function("minutes", "minutes", 1 / 1440, "account.age < minutes(30)"),
    _duration_function("hours", "hours", 1 / 24, "account.age < hours(2)"),
    _duration_function("days", "days", 1, "account.age < days(7)"),
    _duration_function("weeks", "weeks", 7, "account.age > weeks(52)"),
    Function(
        name="time",
        group="time",
        parameters=(Parameter(name="text", types=(TEXT,), constant=True),),
        returns=TIME,
        sentence="A point in time; a date alone means its midnight in UTC.",
        example='account.created_at > time("2026-07-01")',
        cost=0,
        make=_time,
    ),
    Function(
        name="list",
        group="lists",
        parameters=(Parameter(name="name", types=(TEXT,), constant=True),),
        returns=TEXTS,
        sentence="A list that a rule file or the installation has, by name. `in` takes equally long however long the list is.",
        example='account.handle in list("reserved_handles")',
        cost=0,
        make=lambda constants: lambda: None,  # The checker puts the list itself here.
    ),
    Function(
        name="bank",
        group="lists",
        parameters=(Parameter(name="name", types=(TEXT,), constant=True),),
        returns=TEXTS,
        sentence="What a bank holds now: of links, domains (with all that lies in them), terms, names or hashes of files; asked "
        "by `in` alone, and missing where there is no such bank. Pictures and videos are asked by `matched`.",
        example='any(domain(link) in bank("known-domains") for link in post.links)',
        cost=4000,
        make=lambda constants: lambda: None,  # The checker puts the bank itself here.
    ),
    Function(
        name="len",
        group="lists",
        parameters=(Parameter(name="items", types=(Type("list"), TEXT)),),
        returns=Type("number", low=0),
        sentence="How many items a list has, or characters a text.",
        example="len(post.mentions) >= 5",
        cost=60,
        make=_len,
    ),
    Function(
        name="tokens",
        group="lists",
        parameters=(Parameter(name="purpose", types=(TEXT,), constant=True),),
        returns=TEXTS,
        sentence="The account's keyed tokens of that purpose, as the platform names it.",
        example='count(per=tokens("address"), over="day", where=event.type == "account.created") > 5',
        cost=500,
        make=_tokens,
        implicit=("account",),
    ),
    Function(
        name="hashes",
        group="lists",
        parameters=(Parameter(name="hash", types=(TEXT,), constant=True, choices=("sha256", "md5", "pdq")),),
        returns=TEXTS,
        sentence="The hashes of that kind that are known of the event's pictures and videos.",
        example='distinct(account.id, per=hashes("sha256"), over="day") > 10',
        cost=1000,
        make=_hashes,
        implicit=("media",),
    ),
    Function(
        name="domains",
        group="lists",
        parameters=(Parameter(name="links", types=(TEXTS,)),),
        returns=TEXTS,
        sentence="The hosts of links, as `domain` gives them, each once.",
        example='distinct(account.id, per=domains(post.links), over="day") > 10',
        cost=9000,
        make=_domains,
    ),
    Function(
        name="count",
        group="counters",
        parameters=(_PER, _OVER, _WHERE),
        returns=_COUNT,
        sentence=f"How many events with the same key there were within the last hour, day or week, this one among them: "
        f"those on which `where` holds. Up to {MOST:,}; from there on it stays there.",
        example='count(per=account.id, over="hour", where=event.type == "post.created") > 20',
        cost=35,
        make=_known,
    ),
    Function(
        name="distinct",
        group="counters",
        parameters=(Parameter(name="value", types=(TEXT, TEXTS)), _PER, _OVER, _WHERE),
        returns=_COUNT,
        sentence="How many different values those events had; counted as for `count`.",
        example='distinct(account.id, per=post.links, over="day") >= 10',
        cost=35,
        make=_known,
    ),
    Function(
        name="known",
        group="missing values",
        parameters=(Parameter(name="value"),),
        returns=TRUTH,
        sentence="The value is there: the platform sent it. Never missing itself.",
        example="known(account.created_at) and account.age < days(7)",
        cost=40,
        make=_known,
        takes_missing=True,
    ),
    Function(
        name="matched",
        group="findings",
        parameters=(
            _BANKS,
            *_FILTER[:1],
            Parameter(name="severity", types=(NUMBER,), constant=True, keyword=True, required=False),
            *_FILTER[1:],
        ),
        returns=TRUTH,
        sentence="Something matches known content: of one of the banks, of the kind, of at least the severity, …; with nothing named, of any.",
        example='matched("known-videos", kind=("video", "sha256"), severity=4, on="post")',
        cost=300,
        make=_matched,
        implicit=("findings", "event"),
    ),
    Function(
        name="severity",
        group="findings",
        parameters=(_BANKS, *_FILTER),
        returns=Type("number", low=0, high=5),
        sentence="The highest severity, 1 to 5, among matches with known content, chosen as for `matched`; 0 where there is none.",
        example='severity(kind=("pdq", "video")) == 3',
        cost=300,
        make=_severity,
        implicit=("findings", "event"),
    ),
)

PREPARATIONS: dict[str, Function] = {
    name: Function(
        name=name,
        group="",
        parameters=(_TEXT,),
        returns=TEXT,
        sentence="",
        example="",
        cost=cost,
        make=lambda _constants, run=run: run,  # type: ignore[misc]  # mypy cannot infer lambdas with defaults.
    )
    for name, cost, run in (("fold", 600, fold), ("utf8", 100, utf8))
}
"""What texts go through before they are looked into."""

FUNCTIONS: dict[str, Function] = {found.name: found for found in _ALL}
QUANTIFIERS = {
    "any": (
        "any(condition for x in items)",
        "At least one item meets the condition; over no items, no.",
        'any(f.severity >= 4 and f.on == "post" for f in findings)',
    ),
    "all": (
        "all(condition for x in items)",
        "Every item meets the condition; over no items, yes.",
        'all(m.kind == "image" for m in media)',
    ),
}


def display(value: Any) -> str:
    """A value as a person reads it: `2 days 3 h`, `"iron wolf"`, `yes`, `missing`; never more than some 200 characters."""
    match value:
        case None:
            return "missing"
        case bool():
            return "yes" if value else "no"
        case str():
            return '"' + _clean(value, 120) + '"'
        case int():
            return str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
        case float():
            return f"{value:g}"
        case timedelta():
            return display_duration(value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        case tuple() | list() | frozenset() | set():
            items = sorted(value) if isinstance(value, frozenset | set) else list(value)
            shown = [display(item) for item in items[:3]]
            return f"[{', '.join(shown)}{f', and {len(items) - 3} more' if len(items) > 3 else ''}]"
        case Media():
            return f"media {display(value.id)}"
        case Finding():
            return display_finding(value)
        case Tie():
            kinds = ", ".join(value.kinds) or "no one kind"
            return f"{value.band} tie to account {display(value.account)} ({value.probability:.0%}, by {kinds})"
        case _:
            return type(value).__name__.lower()


def display_finding(finding: Finding) -> str:
    """`sha256 match with entry 12 of known-files (severity 5), in media:m1`."""
    out = finding.kind
    match = finding.match
    if match is not None:
        near = f" at distance {match.distance}" if match.distance is not None else ""
        out += f" match with entry {match.entry} of {_clean(match.bank, 64)}{near} (severity {match.severity})"
    if isinstance(finding.where, Span) and finding.seen:
        out += f', "{_clean(finding.seen, 60)}"'
    return f"{out}, in {_clean(field_of(finding), 80)}"


def display_duration(value: timedelta) -> str:
    """The two largest units: `2 days 3 h`, `45 min`, `12 s`."""
    seconds = int(abs(value).total_seconds())
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [
        f"{days} day{'s' if days != 1 else ''}" if days else "",
        f"{hours} h" if hours else "",
        f"{minutes} min" if minutes and not days else "",
        f"{rest} s" if rest and not days and not hours else "",
    ]
    return ("-" if value < timedelta(0) else "") + (" ".join(part for part in parts if part) or "0 s")


def find_span(function: str, constants: Mapping[str, Any], text: str) -> tuple[int, int] | None:
    """Where in `text` a text function found what it looks for, in code points; None where it did not."""
    if function in ("contains", "word"):
        folded = fold(text)
        places = []
        for term in folded_terms(constants["words"]):
            if function == "word":
                from redshank.matching import TermIndex

                places += [(start, end) for _, start, end in TermIndex([(0, term)]).find(folded)]
            elif (at := folded.text.find(term)) >= 0:
                places += folded.spans([(at, at + len(term))])
        return min(places, default=None)
    pattern = constants["pattern"] if function == "matches" else rf"\p{{{constants['name']}}}"
    encoded = utf8(text)
    found = regex(pattern, captures=True).search(encoded)
    if found is None:
        return None
    start, end = found.span()
    return len(encoded[:start].decode("utf-8", "replace")), len(encoded[:end].decode("utf-8", "replace"))


def excerpt(text: str, start: int, end: int) -> str:
    """`text[start:end]` between « and », with up to 40 characters of what is around it."""
    end = min(end, start + 200)
    before, after = text[max(0, start - 40) : start], text[end : end + 40]
    lead, tail = "…" if start > 40 else "", "…" if end + 40 < len(text) else ""
    return f"{lead}{_clean(before, 40)}«{_clean(text[start:end], 200)}»{_clean(after, 40)}{tail}"


def _clean(text: str, limit: int) -> str:
    """`text` on one line, without control or direction-changing characters, cut to `limit`."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " " for char in cut)
