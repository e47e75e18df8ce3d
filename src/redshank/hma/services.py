"""The door of the HMA room: HMA's banks and contents over banks and entries of ours.

The one idea: HMA's bank holds contents with several signals each, ours hold entries of one kind. So an HMA bank is a name over
one bank of ours for each signal type, and a content points to entries; an entry stands in force as long as one content in
force points to it. Banks that people made here are seen by HMA's clients as well, each entry as a content of one signal.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from datetime import UTC, datetime

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import OuterRef, Q, Subquery

from redshank.audit.services import Step, record
from redshank.banks import services as banks
from redshank.banks.frames import unpack_frames
from redshank.banks.models import Bank, Entry
from redshank.banks.values import canonical
from redshank.core import Account, BadInput, Frames, Media, Post, PostCreated, Problem
from redshank.hma.models import HmaBank, HmaContent, HmaPart, HmaSignal, HmaSignalType
from redshank.hma.signals import ENOUGH, SignalType, entry_of, plugged_of, signal_of_frames, types, video_of
from redshank.media import NEAR, MediaHashes, match_videos
from redshank.media.plugins import INSTALLED

IN_FORCE, OUT_OF_FORCE = 1, 0
"""`disable_until` of a content that is in force, and of one that is not; more is a time in seconds since 1970."""
MAX_NOTE = 255
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_BATCH = 500
_CLIENTS = ("key:", "address:")
"""How the names of those begin who change things through HMA's API."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
NO_DISTANCE = "-"
"""What HMA writes where a match has no distance."""
MOST = 1000
"""Contents of one bank that are named for one signal."""


class NoSuchThing(Problem):
    """The bank or content that a client named is not there."""


class Taken(Problem):
    """The name is in use, or the bank is not the client's to change."""


class BankConfig(msgspec.Struct, frozen=True):
    """A bank as HMA tells of it."""

    name: str
    matching_enabled_ratio: float


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A content as HMA tells of it. `signals` by signal type."""

    id: int
    bank: BankConfig
    disable_until_ts: int
    signals: Mapping[str, str]
    metadata: Mapping[str, object]
    note: str


# Signal types


def signal_types() -> dict[str, float]:
    """The offered signal types, in the setting's order, each with its ratio."""
    known = types()
    names = [name for name in settings.REDSHANK.hma.signal_types if name in known]
    return dict.fromkeys(names, 1.0) | dict(HmaSignalType.objects.filter(name__in=names).values_list("name", "ratio"))


def signal_type(name: str) -> SignalType:
    """An offered signal type that is switched on. Raises `BadInput`."""
    offered = signal_types()
    if name not in offered:
        raise BadInput(f"No such SignalType '{name[:64]}'")
    if offered[name] <= 0:
        raise BadInput(f"SignalType '{name}' is not enabled")
    return types()[name]


def set_signal_type(name: str, ratio: float, *, by: str, now: datetime) -> None:
    """Set the ratio of a signal type; 0 switches it off. Raises `BadInput`."""
    if name not in signal_types():
        raise BadInput(f"No such SignalType '{name[:64]}'")
    with transaction.atomic():
        HmaSignalType.objects.update_or_create(name=name, defaults={"ratio": _ratio(ratio)})
        record([Step(actor=by, step="hma.signal_type", object=f"signal_type:{name}", body={"ratio": ratio})], now=now)


# Banks


def all_banks() -> list[BankConfig]:
    """HMA's banks and ours, by name."""
    ours = Bank.objects.filter(hma_part=None, negative=False, kind__in=_kinds())
    found = [*map(_config, HmaBank.objects.all()), *map(_config, ours)]
    return sorted(found, key=lambda one: one.name)


def get_bank(name: str) -> HmaBank | Bank:
    """The bank of that name, HMA's or ours. Raises `NoSuchThing`."""
    whole = HmaBank.objects.filter(name=name).first()
    if whole is not None:
        return whole
    bank = Bank.objects.filter(name=name, hma_part=None, negative=False).first()
    if bank is None:
        raise NoSuchThing(f"bank '{name[:255]}' not found")
    return bank


def config_of(bank: HmaBank | Bank) -> BankConfig:
    """A bank as HMA tells of it."""
    return _config(bank)


def make_bank(name: str, ratio: float, *, by: str, now: datetime) -> HmaBank:
    """Make an empty bank. Raises `BadInput` for what is no name or ratio, `Taken` for a name in use."""
    ratio = _ratio(ratio)
    with transaction.atomic():
        banks.bump()  # Its lock makes two that ask for one name wait for each other.
        whole = HmaBank.objects.create(name=_free(name), ratio=ratio)
        record([Step(actor=by, step="hma.bank_created", object=f"hma_bank:{name}", body={"ratio": ratio})], now=now)
    return whole


def change_bank(
    name: str, *, new_name: str | None = None, ratio: float | None = None, by: str, now: datetime
) -> BankConfig:
    """Rename a bank, or set the share of lookups it takes part in. Raises `NoSuchThing`, `BadInput`, `Taken`."""
    with transaction.atomic():
        banks.bump()
        found = get_bank(name)
        if isinstance(found, Bank):
            if new_name is not None and new_name != name:
                raise Taken("This bank was made in the console; its name stays.")
            if ratio is not None:
                banks.change_bank(found, _switch(_ratio(ratio)), by=by, now=now, reason="Asked for through HMA's API.")
            found.refresh_from_db()
            return _config(found)
        before = {"name": found.name, "ratio": found.ratio}
        if new_name is not None and new_name != name:
            found.name = _free(new_name)
        if ratio is not None:
            found.ratio = _ratio(ratio)
            for part in found.parts.select_related("bank"):
                banks.change_bank(part.bank, _switch(found.ratio), by=by, now=now)
        found.save()
        after = {"name": found.name, "ratio": found.ratio}
        step = Step(
            actor=by, step="hma.bank_changed", object=f"hma_bank:{found.name}", body={"from": before, "to": after}
        )
        record([step], now=now)
    return _config(found)


def delete_bank(name: str, *, by: str, now: datetime) -> None:
    """Take all contents of a bank out of force, and forget its name. One that is not there is gone already.

    Raises `Taken` for a bank that was made in the console.
    """
    with transaction.atomic():
        banks.bump()
        try:
            found = get_bank(name)
        except NoSuchThing:
            return
        if isinstance(found, Bank):
            raise Taken("This bank was made in the console, and is deleted there.")
        for part in found.parts.select_related("bank"):
            pks = Entry.objects.filter(bank=part.bank, withdrawn_at=None).values_list("pk", flat=True)
            banks.withdraw_entries(part.bank, pks, by=by, now=now, reason=f"The HMA bank {name} was deleted.")
            banks.change_bank(part.bank, {"active": False}, by=by, now=now)
        contents = found.contents.count()
        found.delete()
        record(
            [Step(actor=by, step="hma.bank_deleted", object=f"hma_bank:{name}", body={"contents": contents})], now=now
        )


# Contents


def add_content(
    bank: HmaBank | Bank,
    signals: Mapping[str, str],
    *,
    metadata: Mapping[str, object] = {},
    note: str = "",
    by: str,
    now: datetime,
) -> int:
    """Add one content with its signals, by type; gives its id. Raises `BadInput`, naming the signal, before any change.

    The same content again is another content, as with HMA; the entries are the same.
    """
    if not signals:
        raise BadInput("No signals given")
    new: dict[str, banks.NewEntry] = {}
    for name, signal in signals.items():
        type_ = signal_type(name)
        try:
            new[name] = entry_of(type_, signal, note=note)
        except BadInput as problem:
            raise BadInput(f"Invalid {name} signal: {problem.what}") from None
    with transaction.atomic():
        banks.bump()  # Its lock makes those wait who need the same part, or delete the bank.
        if isinstance(bank, Bank):
            fitting = [name for name in new if types()[name].kind == bank.kind]
            if not fitting:
                raise BadInput(f"bank '{bank.name}' takes {bank.kind}, and none was given")
            return _native_id(_add(bank, new[fitting[0]], by=by, now=now))
        if not HmaBank.objects.filter(pk=bank.pk).exists():
            raise NoSuchThing(f"bank '{bank.name}' not found")
        content = HmaContent.objects.create(whole=bank, note=note, metadata=dict(metadata))
        rows = [
            HmaSignal(content=content, signal_type=name, entry_id=_add(part_of(bank, name, by=by, now=now), item, by=by, now=now))
            for name, item in new.items()
        ]  # fmt: skip
        HmaSignal.objects.bulk_create(rows)
    return _content_id(content.pk)


def get_content(bank: HmaBank | Bank, content_id: int) -> Content:
    """A content of this bank, and of no other. Raises `NoSuchThing`."""
    found = _find(bank, content_id)
    if isinstance(found, Entry):
        name = _signal_name(found.bank)
        until = OUT_OF_FORCE if found.withdrawn_at or not found.bank.active else IN_FORCE
        return Content(
            id=content_id, bank=_config(bank), disable_until_ts=until, signals={name: _written(name, found)},
            metadata={}, note=found.note[:MAX_NOTE],
        )  # fmt: skip
    signals = found.signals.select_related("entry").order_by("pk")
    return Content(
        id=content_id, bank=_config(bank), disable_until_ts=found.disable_until,
        signals={one.signal_type: _written(one.signal_type, one.entry) for one in signals}, metadata=found.metadata,
        note=found.note,
    )  # fmt: skip


def change_content(
    bank: HmaBank | Bank,
    content_id: int,
    *,
    disable_until: int | None = None,
    note: str | None = None,
    by: str,
    now: datetime,
) -> Content:
    """Note something at a content, or take it out of force, for good or until a time. Raises `NoSuchThing`."""
    with transaction.atomic():
        banks.bump()
        found = _find(bank, content_id)
        if isinstance(found, Entry):
            if note is not None:
                banks.note_entry(found.pk, note, by=by, now=now)
            if disable_until is not None:
                if disable_until > IN_FORCE:
                    raise BadInput("an entry of the console's is in force (1) or not (0); it has no time")
                _settle([found.pk], now=now, by=by, wanted={found.pk} if disable_until == IN_FORCE else set())
            return get_content(bank, content_id)
        if note is not None:
            found.note = note
        if disable_until is not None:
            found.disable_until = disable_until
        found.save()
        if disable_until is not None:
            _settle(found.signals.values_list("entry_id", flat=True), now=now, by=by)
        body = {"content": content_id, "disable_until": found.disable_until}
        record(
            [Step(actor=by, step="hma.content_changed", object=f"hma_bank:{_config(bank).name}", body=body)], now=now
        )
    return get_content(bank, content_id)


def remove_content(bank: HmaBank | Bank, content_id: int, *, by: str, now: datetime) -> int:
    """Take a content out of its bank; gives how many went, 0 where it is not (any more) in this bank."""
    with transaction.atomic():
        banks.bump()
        try:
            found = _find(bank, content_id)
        except NoSuchThing:
            return 0
        if isinstance(found, Entry):
            return banks.withdraw_entries(found.bank, [found.pk], by=by, now=now, reason="Removed through HMA's API.")
        entries = list(found.signals.values_list("entry_id", flat=True))
        found.delete()
        _settle(entries, now=now, by=by)
        body = {"content": content_id}
        record(
            [Step(actor=by, step="hma.content_removed", object=f"hma_bank:{_config(bank).name}", body=body)], now=now
        )
    return 1


def revive_due(*, now: datetime) -> int:
    """Bring contents back into force whose time out of it is over; give how many."""
    due = list(HmaContent.objects.filter(disable_until__gt=IN_FORCE, disable_until__lte=now.timestamp())[:_BATCH])
    for content in due:
        with transaction.atomic():
            banks.bump()
            if HmaContent.objects.filter(pk=content.pk, disable_until=content.disable_until).update(
                disable_until=IN_FORCE
            ):
                _settle(content.signals.values_list("entry_id", flat=True), now=now, by="system")
    return len(due)


# Matching


class Near(msgspec.Struct, frozen=True):
    """A content that matches: in which bank (with its ratio), how near as HMA writes it, and whether it is out of force."""

    bank: str
    ratio: float
    content: int
    distance: str
    disabled: bool


def match_signal(type_: SignalType, signal: str, *, now: datetime) -> list[Near]:
    """The contents that a signal matches, the nearest of each bank first. Raises `BadInput` for what is no such signal."""
    entry_of(type_, signal)
    if type_.name == "vpdq":
        found = _find_known(Media(id="asked"), video_of(signal))
    elif type_.kind in INSTALLED:
        found = _find_known(Media(id="asked"), plugged_of(type_.kind, signal))
    elif type_.kind == "url":
        found = _find_known(None, None, link=signal)
    else:
        item = msgspec.structs.replace(Media(id="asked"), **{type_.kind: canonical(type_.kind, signal)})
        found = _find_known(item, None)
    return _near(found.get(type_.kind, []), now=now)


def match_media(hashes: MediaHashes, names: Iterable[str], *, now: datetime) -> dict[str, list[Near]]:
    """The contents that hashed media match, by signal type; in a changed form as well, which a signal alone cannot tell."""
    found = _find_known(Media(id="asked"), hashes)
    return {name: _near(found.get(types()[name].kind, []), now=now) for name in names}


def _find_known(item: Media | None, hashes: MediaHashes | None, link: str = "") -> dict[str, list[tuple[int, str]]]:
    """(entry, distance as HMA writes it), by the kind of its bank. What is harmless or in quarantine is no match."""
    post = Post(id="asked", media=(item,) if item else (), links=(link,) if link else ())
    event = PostCreated(id="asked", network="asked", at=_EPOCH, account=Account(id="asked"), post=post)
    known = banks.known(fresh=True)
    out: dict[str, dict[int, str]] = defaultdict(dict)
    for finding in known.find(event, {"asked": hashes} if hashes else {}, sampled=False, nearest=MOST):
        match = finding.match
        entry = known.entry(match.entry) if match and not match.withheld else None
        if match is not None and entry is not None:
            far = NO_DISTANCE if match.distance is None else str(match.distance)
            if isinstance(finding.where, Frames) and entry.bank.kind == "video":
                far = f"{100 * finding.where.share:.0f}%[{100 * finding.where.known_share:.0f}%]"
            out[entry.bank.kind].setdefault(entry.id, far)
    return {kind: list(found.items()) for kind, found in out.items()}


def _near(found: list[tuple[int, str]], *, now: datetime) -> list[Near]:
    places = _places_of([entry for entry, _ in found], now=now)
    return [msgspec.structs.replace(place, distance=far) for entry, far in found for place in places.get(entry, ())]


def _places_of(entries: Collection[int], *, now: datetime) -> dict[int, list[Near]]:
    """Where entries of ours stand, by entry. One that several contents share stands in each of them."""
    out: dict[int, list[Near]] = defaultdict(list)
    ids = sorted(set(entries))
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        for one in HmaSignal.objects.filter(entry__in=part).select_related("content__whole").order_by("content_id"):
            whole = one.content.whole
            off = _is_off(one.content.disable_until, now)
            out[one.entry_id].append(Near(whole.name, whole.ratio, _content_id(one.content_id), NO_DISTANCE, off))
        rest = [pk for pk in part if pk not in out]
        for entry in Entry.objects.filter(pk__in=rest).select_related("bank__hma_part__whole").defer("frames"):
            owner = _owner(entry.bank)
            if owner is None:
                continue
            config = _config(owner)
            near = Near(config.name, config.matching_enabled_ratio, _native_id(entry.pk), NO_DISTANCE, disabled=False)
            out[entry.pk].append(near)
    return out


def compare(type_: SignalType, one: str, other: str) -> tuple[bool, dict[str, int]]:
    """Whether two signals match, and how far apart they are where that is a number. Raises `BadInput`."""
    if type_.name == "vpdq":
        limit = settings.REDSHANK.media.pdq_limit
        match = match_videos(video_of(one), video_of(other), limit, quality=ENOUGH, near=NEAR)
        return match.share >= settings.REDSHANK.media.video_share, {}
    left, right = canonical(type_.kind, one), canonical(type_.kind, other)
    if type_.kind in INSTALLED:
        return INSTALLED[type_.kind].compare(left, right)
    if type_.kind != "pdq":
        return left == right, {}
    distance = (int(left, 16) ^ int(right, 16)).bit_count()
    return distance <= settings.REDSHANK.media.pdq_limit, {"distance": distance}


class IndexState(msgspec.Struct, frozen=True):
    """How a signal type's index stands in this process: how many signals are kept, how many of them it has taken in, whether
    anything changed that it has not, and when the last was added that is kept and that it has (seconds; -1: never).
    """

    kept: int
    known: int
    behind: bool
    newest: int
    known_newest: int


def index_states(names: Iterable[str]) -> dict[str, IndexState]:
    """The state of each signal type's index, as it is before a look-up: that takes in whatever changed until then."""
    of_kind = {name: types()[name].kind for name in names}
    revision = banks.known().revision
    held = Bank.objects.filter(kind__in=set(of_kind.values()), negative=False, active=True)
    entries = Entry.objects.filter(bank=OuterRef("pk"), withdrawn_at=None).order_by("-pk").values("added_at")
    rows = held.annotate(
        newest=Subquery(entries[:1]), known_newest=Subquery(entries.filter(changed__lte=revision)[:1])
    ).values_list("pk", "kind", "in_force", "newest", "known_newest")
    kinds = {pk: kind for pk, kind, *_ in rows}
    news: Counter[str] = Counter()
    for bank, withdrawn in _changed_since(revision):
        if bank in kinds:
            news[kinds[bank]] += withdrawn is None
    states = {kind: IndexState(0, 0, kind in news, -1, -1) for kind in of_kind.values()}
    for _, kind, kept, newest, known_newest in rows:
        state = states[kind]
        states[kind] = IndexState(
            state.kept + kept, state.known + kept, state.behind, max(state.newest, _seconds(newest)),
            max(state.known_newest, _seconds(known_newest)),
        )  # fmt: skip
    for kind, in_force in news.items():
        states[kind] = msgspec.structs.replace(states[kind], known=max(0, states[kind].kept - in_force))
    return {name: states[kind] for name, kind in of_kind.items()}


def _changed_since(revision: int) -> Iterator[tuple[int, datetime | None]]:
    """The bank, and when it was withdrawn, of each entry that changed. By the index of changes: few did."""
    changed = Entry.objects.filter(changed__gt=revision).order_by("changed")
    return changed.values_list("bank_id", "withdrawn_at").iterator(_BATCH)


def _seconds(at: datetime | None) -> int:
    return -1 if at is None else int(at.timestamp())


# Parts


def _kinds() -> set[str]:
    return {types()[name].kind for name in signal_types()}


def _config(bank: HmaBank | Bank) -> BankConfig:
    if isinstance(bank, HmaBank):
        return BankConfig(bank.name, bank.ratio)
    return BankConfig(bank.name, bank.sampled / 100 if bank.active else 0.0)


def _owner(bank: Bank) -> HmaBank | Bank | None:
    part = getattr(bank, "hma_part", None)
    return part.whole if part else bank


def _ratio(ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise BadInput(f"Invalid enabled ratio {ratio}. Must be in the range 0.0-1.0 inclusive.")
    return float(ratio)


def _switch(ratio: float) -> dict[str, object]:
    """A ratio as our banks keep it: of a hundred events at least one, where it is more than nothing."""
    return {"active": ratio > 0, "sampled": max(1, round(100 * ratio)) if ratio else 100}


def _free(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise BadInput("Bank names must be UPPER_WITH_UNDERSCORE, and not start with a digit")
    if HmaBank.objects.filter(name=name).exists() or Bank.objects.filter(name=name).exists():
        raise Taken("Bank already exists")
    return name


def part_of(whole: HmaBank, name: str, *, by: str, now: datetime) -> Bank:
    """Our bank for a signal type of an HMA bank, made at the first need."""
    part = whole.parts.filter(signal_type=name).select_related("bank").first()
    if part is not None:
        return part.bank
    policy, severity = settings.REDSHANK.hma.policy, settings.REDSHANK.hma.severity
    base = f"{whole.name.lower().replace('_', '-').strip('-') or 'hma'}"[:40]
    free = f"{base}-{name.replace('_', '-')}"
    while Bank.objects.filter(name=free).exists():
        free = f"{base}-{name.replace('_', '-')}-{secrets.token_hex(3)}"
    switch = _switch(whole.ratio)
    bank = banks.make_bank(
        free, kind=types()[name].kind, policy=policy, severity=severity, by=by, now=now,
        sampled=int(str(switch["sampled"])), description=f"Filled through HMA's API as {whole.name}.",
    )  # fmt: skip
    if not switch["active"]:
        banks.change_bank(bank, {"active": False}, by=by, now=now)
    HmaPart.objects.create(whole=whole, signal_type=name, bank=bank)
    return bank


def _add(bank: Bank, item: banks.NewEntry, *, by: str, now: datetime) -> int:
    added = banks.add_entries(bank, [item], by=by, now=now)
    if added.set_aside:
        raise BadInput(added.set_aside[0].reason)
    return added.entries[0]


def _content_id(pk: int) -> int:
    """A content's id as clients see it: odd. Entries that no client made have even ones, so that no two are the same."""
    return 2 * pk - 1


def _native_id(pk: int) -> int:
    return 2 * pk


def _find(bank: HmaBank | Bank, content_id: int) -> HmaContent | Entry:
    missing = NoSuchThing(f"content '{content_id}' not found")
    if not 0 < content_id < 2**53:
        raise missing
    found: HmaContent | Entry | None
    if content_id % 2:
        if isinstance(bank, Bank):
            raise missing
        found = bank.contents.filter(pk=(content_id + 1) // 2).first()
    else:
        own = Q(bank=bank) if isinstance(bank, Bank) else Q(bank__hma_part__whole=bank)
        found = Entry.objects.filter(own, pk=content_id // 2).select_related("bank").first()
    if found is None:
        raise missing
    return found


def _signal_name(bank: Bank) -> str:
    part = getattr(bank, "hma_part", None)
    return (
        part.signal_type if part else next((one.name for one in types().values() if one.kind == bank.kind), bank.kind)
    )


def _written(name: str, entry: Entry) -> str:
    return signal_of_frames(unpack_frames(bytes(entry.frames or b""))) if name == "vpdq" else entry.value


def _is_off(disable_until: int, now: datetime) -> bool:
    return disable_until != IN_FORCE and (disable_until == OUT_OF_FORCE or disable_until > now.timestamp())


def _settle(entries: Iterable[int], *, now: datetime, by: str, wanted: Set[int] | None = None) -> None:
    """Put each entry in force or out of it: in force are those of `wanted`, else those that a content in force points to.

    In the latter case what a person or an exchange added beside the clients stays.
    """
    pks = list(entries)
    held: set[int] = set()
    if wanted is None:
        held = {
            pk for pk, adder in Entry.objects.filter(pk__in=pks).values_list("pk", "added_by")
            if not adder.startswith(_CLIENTS)
        }  # fmt: skip
        pointing = HmaSignal.objects.filter(entry__in=pks).values_list("entry_id", "content__disable_until")
        wanted = {pk for pk, until in pointing if not _is_off(until, now)}
    by_bank: dict[Bank, list[Entry]] = defaultdict(list)
    for entry in Entry.objects.filter(pk__in=pks).select_related("bank"):
        by_bank[entry.bank].append(entry)
    for bank, found in by_bank.items():
        going = [one.pk for one in found if one.pk not in wanted | held and one.withdrawn_at is None]
        if going:
            banks.withdraw_entries(bank, going, by=by, now=now, reason="Out of force through HMA's API.")
        # What a person withdrew stays withdrawn: no client overrules them.
        back = [
            one.pk
            for one in found
            if one.pk in wanted and one.withdrawn_at and not one.withdrawn_by.startswith("user:")
        ]
        if back:
            banks.restore_entries(bank, back, by=by, now=now, reason="In force again through HMA's API.")
