"""The door of the banks room: make banks, add and withdraw entries, and know what is known.

The one idea: every change draws one number in its transaction, takes that row's lock by doing so, and writes the number
on the entries that it changed. Writers wait for each other there; readers ask for what has a higher number (`current`).
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TextIO

import msgspec
import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from redshank.audit.services import Step, record
from redshank.banks.current import BATCH
from redshank.banks.current import bump as bump  # noqa: PLC0414 - part of the door
from redshank.banks.current import known as known  # noqa: PLC0414 - part of the door
from redshank.banks.frames import pack_frames
from redshank.banks.models import Bank, Entry, Opinion
from redshank.banks.parted import keep_points
from redshank.banks.values import canonical, kinds, weakness
from redshank.core import BadInput, BankTexts, Problem
from redshank.matching import ASKED, FILES
from redshank.media import Frame, ImageHashes, MediaHashes
from redshank.media.parts import Shown
from redshank.policies import services as policies
from redshank.rows import Turns, batched, pick, put

IMPORTED, FRAMES = 10_000, 50_000
"""Entries, and frames of them, that an import commits together at most."""
SAMPLES = 8
"""Entries of a file that are shown before it is imported."""
NAMED = 1_000
"""What an import set aside is named up to this number, and counted beyond it."""
MAX_LINE = 4 * 1024 * 1024
"""Longest line of a file that is imported, in characters: an hour of video as JSON is half of it."""


class NewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something to add to a bank. `value` in any way it is written; for a video its SHA-256, with `frames`.

    `quality` is that of a PDQ hash, 0 to 100, where it is known; `from_case` the case that it was found in. `foreign`: an
    exchange with another organization brings it, so that a person here is to agree with it before rules act by it alone. `points` are those of
    a picture, or of some frames of a video, which a bank keeps that finds parts.
    """

    value: str
    label: str = ""
    note: str = ""
    source: str = ""
    quality: int | None = None
    frames: tuple[Frame, ...] = ()
    from_case: int | None = None
    foreign: bool = False
    points: tuple[Shown, ...] = ()


class SetAside(msgspec.Struct, frozen=True):
    """What was not taken: its place (counted from 1: the line of a file, else the entry), what it was, and why not."""

    place: int
    value: str
    reason: str


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What became of new entries.

    `entries` are the ids of the entries of the values given, without repeats, whether added now or known before; of an import,
    which may be of millions, none. `added` and `revived` (withdrawn before) count those that changed something; `known`
    and `repeated` those that did not, `kept_out` those of the known that stay withdrawn; `weak` those of all that match
    nothing by themselves. `aside` were set aside, of which `set_aside` names as many as `NAMED`.
    """

    entries: tuple[int, ...] = ()
    added: int = 0
    revived: int = 0
    known: int = 0
    repeated: int = 0
    weak: int = 0
    kept_out: int = 0
    aside: int = 0
    set_aside: tuple[SetAside, ...] = ()


# Banks


def make_bank(
    name: str,
    *,
    kind: str,
    policy: str,
    severity: int,
    by: str,
    now: datetime,
    description: str = "",
    source: str = "",
    limit: int | None = None,
    share: int | None = None,
    negative: bool = False,
    partial: bool = False,
    sampled: int = 100,
    surge: int | None = None,
    languages: str = "",
    license: str = "",  # noqa: A002 - the word that people know it by
    expires_days: int | None = None,
) -> Bank:
    """Make an empty bank. `by` is an actor (`user:NAME`, `system`); the rest is as `Bank` says.

    Raises `Problem` for a name that is taken or no slug, an unknown kind or policy, and what is out of range.
    """
    if not name or len(name) > 64 or not all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
        raise Problem("not a name for a bank", where=repr(name)[:80], hint="Use up to 64 letters, digits, - and _.")
    if kind not in kinds():
        raise Problem("no such kind of bank", where=repr(kind)[:80], hint=f"There are {', '.join(kinds())}.")
    chosen = policies.get(policy)
    bank = Bank(
        name=name, kind=kind, description=clean(description, 10_000), policy=chosen, severity=severity,
        source=clean(source, 200), limit=limit, share=share, negative=negative, partial=partial, sampled=sampled, surge=surge, languages=languages,
        license=clean(license, 200), expires_days=expires_days, created_at=now,
    )  # fmt: skip
    _check(bank)
    with transaction.atomic():
        bump()
        if Bank.objects.filter(name=name).exists():
            raise Problem("there is a bank of that name already", where=name)
        bank.save(force_insert=True)
        body = {"kind": kind, **{name: _plain(bank, name) for name in CHANGEABLE}}
        record([Step(actor=by, step="bank.created", object=f"bank:{name}", body=body)], now=now)
    return bank


CHANGEABLE = (
    "description", "policy", "severity", "source", "limit", "share", "negative", "partial", "sampled", "languages", "license", "expires_days",
    "active", "surge",
)  # fmt: skip
"""What of a bank can be changed. Its kind cannot: its entries are of that kind."""


def change_bank(bank: Bank, changes: Mapping[str, Any], *, by: str, now: datetime, reason: str = "") -> dict[str, Any]:
    """Change what `CHANGEABLE` names (`policy` by its slug); gives what became different, as {name: [before, after]}.

    Writes one audit step, `bank.changed`, with just that; nothing where nothing differs. Raises `Problem` for what is out
    of range. A new `expires_days` holds for entries added from now on.
    """
    if strange := changes.keys() - set(CHANGEABLE):
        raise Problem("this cannot be changed", where=", ".join(sorted(strange)))
    with transaction.atomic():
        bump()
        there = Bank.objects.select_related("policy").get(pk=bank.pk)
        before = {name: _plain(there, name) for name in CHANGEABLE}
        for name, value in changes.items():
            if name == "policy":
                there.policy = there.policy if value == there.policy_id else policies.get(value)
            else:
                setattr(
                    there,
                    name,
                    clean(value, 10_000 if name == "description" else 200) if isinstance(value, str) else value,
                )
        _check(there)
        different = {
            name: [before[name], after] for name in CHANGEABLE if (after := _plain(there, name)) != before[name]
        }
        if different:
            there.save()
            step = Step(actor=by, step="bank.changed", object=f"bank:{there.name}", reason=reason, body=different)
            record([step], now=now)
    return different


def _plain(bank: Bank, name: str) -> Any:
    return bank.policy_id if name == "policy" else getattr(bank, name)


_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8})*", re.IGNORECASE)


def _check(bank: Bank) -> None:
    """Brings `languages` into form. Raises `Problem` for what is out of range."""
    if not 1 <= bank.severity <= 5:
        hint = "It runs from 1 (context) to 5 (instant attention)."
        raise Problem("not a severity", where=str(bank.severity), hint=hint)
    if bank.limit is not None and (bank.kind not in {"pdq", "video"} or not 0 <= bank.limit <= 31):
        raise Problem("not a limit", where=str(bank.limit), hint="It is 0 to 31 bits, for banks of kind pdq and video.")
    if bank.partial and bank.kind not in {"pdq", "video"}:
        hint = "A bank of kind pdq or video holds them."
        raise Problem("parts are found of pictures and videos alone", where=bank.kind, hint=hint)
    if bank.share is not None and (bank.kind != "video" or not 1 <= bank.share <= 100):
        raise Problem(
            "not a share", where=str(bank.share), hint="It is 1 to 100 of a hundred seconds, for banks of kind video."
        )
    if not 0 <= bank.sampled <= 100:
        raise Problem(
            "not a share of a hundred", where=str(bank.sampled), hint="100 holds every event against the bank."
        )
    if bank.surge is not None and not 0 <= bank.surge < 2**31:
        raise Problem("not a number of events", where=str(bank.surge), hint="0 is never; empty is the installation's.")
    if bank.expires_days is not None and not 1 <= bank.expires_days <= 36_500:
        raise Problem("not a number of days", where=str(bank.expires_days), hint="Leave it empty for never.")
    tags = bank.languages.replace(",", " ").split()
    if strange := [tag for tag in tags if not _LANGUAGE.fullmatch(tag)]:
        raise Problem("not a language", where=strange[0][:40], hint="Write tags such as de, pt-BR or ku.")
    bank.languages = " ".join(dict.fromkeys(tags))[:200]


def get_bank(name: str) -> Bank:
    """The bank of that name. Raises `Problem`, with the nearest name there is."""
    bank = Bank.objects.select_related("policy").filter(name=name).first()
    if bank is None:
        names = list(Bank.objects.values_list("name", flat=True))
        near = difflib.get_close_matches(name, names, n=1)
        hint = (
            f"Did you mean {near[0]}?" if near else "`redshank banks list` shows them." if names else "There is none."
        )
        raise Problem("no such bank", where=name, hint=hint)
    return bank


LOOKED_UP = 1_000_000
"""Entries of a bank that a search or a backtest looks texts up in, at most."""


def kinds_of_banks() -> dict[str, str]:
    """The kind of each bank that is switched on, by its name."""
    return dict(Bank.objects.filter(active=True).values_list("name", "kind"))


def texts_of(names: Collection[str]) -> dict[str, BankTexts]:
    """What those of the banks `names` that are switched on hold now, by name; of kinds that no text names, nothing.

    What is weak or in quarantine is left out. Raises `Problem` for a bank that is too large to be handed on whole.
    """
    out = {}
    for bank in Bank.objects.filter(active=True, name__in=names):
        if bank.in_force > LOOKED_UP:
            raise Problem(
                f"a search or a backtest looks texts up in banks of up to {LOOKED_UP:,} entries; this one has {bank.in_force:,}",
                where=f"bank {bank.name}", hint=f'Ask what was seen then: matched("{bank.name}").',
            )  # fmt: skip
        still = Q(expires_at=None) | Q(expires_at__gt=datetime.now(UTC))
        entries = Entry.objects.filter(still, bank=bank, withdrawn_at=None, weak="", quarantined_at=None).order_by()
        values = entries.values_list("value", flat=True).iterator() if bank.kind in ASKED else ()
        out[bank.name] = BankTexts(bank.kind, frozenset(values))
    return out


# Entries


def add_entries(
    bank: Bank,
    new: Iterable[NewEntry],
    *,
    by: str,
    now: datetime,
    places: Sequence[int] | None = None,
    revives: str = "",
) -> Added:
    """Add what is new to `bank`; all of it or, if the store fails, nothing.

    What is harmless is brought into form; what the bank cannot take is set aside with its reason, and the good beside
    it goes on. A value that was withdrawn is in force again, as it is given now; one in force stays as it is. Weak
    hashes are kept and marked. Writes one audit step, `entry.added`, with the count and a SHA-256 over the values.
    `revives`: only what an actor whose name begins so withdrew is in force again; the rest of it stays as it is.
    What is in force by another organization's word alone is confirmed by a person who adds it here.
    """
    return add_fitted(bank, fit(bank, new, places), by=by, now=now, revives=revives)


class Fit(msgspec.Struct, frozen=True):
    """What a bank can take, by value, and what of it has points; what it cannot; and how many repeat one another."""

    wanted: dict[str, _Given]
    points: dict[str, tuple[Shown, ...]]
    set_aside: tuple[SetAside, ...]
    repeated: int


def fit(bank: Bank, new: Iterable[NewEntry], places: Sequence[int] | None = None) -> Fit:
    """Bring what is new into the form of `bank`. Nothing is asked of the store, so it can be done before a transaction."""
    wanted: dict[str, _Given] = {}
    points: dict[str, tuple[Shown, ...]] = {}
    set_aside: list[SetAside] = []
    repeated = 0
    for number, item in enumerate(new):
        place = places[number] if places else number + 1
        try:
            entry = _given(bank, item)
        except BadInput as problem:
            set_aside.append(SetAside(place, item.value[:200], _reason(problem)))
            continue
        repeated += entry.value in wanted
        wanted.setdefault(entry.value, entry)
        if item.points:
            points[entry.value] = item.points
    return Fit(wanted, points, tuple(set_aside), repeated)


def add_fitted(bank: Bank, fitted: Fit, *, by: str, now: datetime, revives: str = "") -> Added:
    """As `add_entries`, of what `fit` brought into form."""
    wanted, set_aside = fitted.wanted, fitted.set_aside
    if not wanted:
        return Added(aside=len(set_aside), set_aside=set_aside)
    with transaction.atomic():
        number = bump()
        there = _there(bank, wanted)
        fresh = sorted((entry for value, entry in wanted.items() if value not in there), key=_by_value)
        gone = {value: one for value, one in there.items() if one.withdrawn}
        revived = [wanted[value] for value, one in gone.items() if one.by.startswith(revives)]
        expires = now + timedelta(days=bank.expires_days) if bank.expires_days else None
        common = {"bank": bank, "added_by": by[:200], "added_at": now, "expires_at": expires, "changed": number}
        ids = {value: one.id for value, one in there.items()}
        ids |= zip((entry.value for entry in fresh), _insert(fresh, common), strict=True)
        if revived:
            again = [Entry(pk=ids[one.value], **common, **msgspec.structs.asdict(one)) for one in revived]
            Entry.objects.bulk_update(again, _GIVEN, batch_size=BATCH // len(_GIVEN))
        _count(bank, in_force=len(fresh) + len(revived), withdrawn=-len(revived))
        if fresh or revived:
            changed = [*fresh, *revived]
            record([_added_step(bank, changed, [ids[one.value] for one in changed[:20]], len(revived), by)], now=now)
        confirm_entries(
            (there[v].id for v, entry in wanted.items() if v in there and not entry.foreign), by=by, now=now
        )
        if bank.partial:
            keep_points({ids[value]: shown for value, shown in fitted.points.items()}, number=number)
    return Added(
        entries=tuple(ids[value] for value in wanted), added=len(fresh), revived=len(revived), known=len(wanted) - len(fresh) - len(revived),
        repeated=fitted.repeated, weak=sum(bool(entry.weak) for entry in wanted.values()), kept_out=len(gone) - len(revived),
        aside=len(set_aside), set_aside=set_aside,
    )  # fmt: skip


def _by_value(given: _Given) -> str:
    """The order in which the store's index of values takes them at the least cost."""
    return given.value


class _Given(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a new entry beside what all that are added together have in common; named as `Entry` names it."""

    value: str
    frames: bytes | None
    weak: str
    label: str
    note: str
    source: str
    foreign: bool
    from_case: int | None


def _insert(fresh: Sequence[_Given], common: Mapping[str, Any]) -> list[int]:
    """Insert new entries, and give their ids. Who calls it holds the banks' lock: nobody else inserts meanwhile.

    As the ORM's `bulk_create` does, but some twenty times as fast: a feed may send millions.
    """
    if not fresh:
        return []
    model = Entry(**common)
    names = [str(field.attname) for field in Entry._meta.concrete_fields]  # noqa: SLF001
    own = [name for name in names if name in _Given.__struct_fields__ and name != "frames"]
    rest = {name: getattr(model, name) for name in names if name not in own and name not in ("id", "frames")}
    ids = _new_ids(len(fresh))
    rows = [(pk, *(getattr(given, name) for name in own)) for pk, given in zip(ids, fresh, strict=True)]
    put(Entry, rows, ("id", *own), same=rest, unique=("id",), over=())
    with_frames = [Entry(pk=pk, frames=given.frames) for pk, given in zip(ids, fresh, strict=True) if given.frames]
    if with_frames:
        Entry.objects.bulk_update(with_frames, ["frames"], batch_size=BATCH // 3)
    return ids


def _new_ids(count: int) -> list[int]:
    table = Entry._meta.db_table  # noqa: SLF001
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
            )
            return [pk for (pk,) in cursor.fetchall()]
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        found = cursor.fetchone()
    first = (found[0] if found else 0) + 1
    return list(range(first, first + count))


def _count(bank: Bank, *, in_force: int, withdrawn: int) -> None:
    if in_force or withdrawn:
        Bank.objects.filter(pk=bank.pk).update(in_force=F("in_force") + in_force, withdrawn=F("withdrawn") + withdrawn)


_GIVEN = (
    "frames", "weak", "label", "note", "source", "added_by", "added_at", "withdrawn_at", "withdrawn_by", "from_case",
    "expires_at", "looked_back_at", "quarantined_at", "released_at", "disputed_at", "disputed_by", "dispute",
    "foreign", "confirmed_at", "confirmed_by", "changed",
)  # fmt: skip


def withdraw_entries(bank: Bank, entries: Iterable[int], *, by: str, now: datetime, reason: str = "") -> int:
    """Take entries, by their ids, out of force; gives how many were in force before. They stay, and stay explained.

    Writes one audit step, `entry.withdrawn`. Raises `BadInput` for an id that is not of this bank, before any change.
    """
    return _switch_entries(bank, entries, in_force=False, by=by, now=now, reason=reason)


def restore_entries(bank: Bank, entries: Iterable[int], *, by: str, now: datetime, reason: str = "") -> int:
    """Bring withdrawn entries, by their ids, back in force as they were; gives how many were withdrawn. The past is searched again.

    Writes one audit step, `entry.restored`. Raises `BadInput` for an id that is not of this bank, before any change.
    """
    return _switch_entries(bank, entries, in_force=True, by=by, now=now, reason=reason)


def _switch_entries(bank: Bank, entries: Iterable[int], *, in_force: bool, by: str, now: datetime, reason: str) -> int:
    change: dict[str, Any] = {"withdrawn_at": now, "withdrawn_by": by[:200]}
    if in_force:
        change = {"withdrawn_at": None, "withdrawn_by": "", "looked_back_at": None}
    asked = sorted(set(entries))
    with transaction.atomic():
        change["changed"] = bump()
        found: dict[int, tuple[str, bool]] = {}
        for part in batched(asked, BATCH):
            rows = Entry.objects.filter(bank=bank, pk__in=part).values_list("pk", "value", "withdrawn_at")
            found |= {pk: (value, withdrawn is None) for pk, value, withdrawn in rows}
        if strange := [pk for pk in asked if pk not in found]:
            raise BadInput("no such entry in this bank", where=", ".join(map(str, strange[:10])))
        going = [pk for pk in asked if found[pk][1] is not in_force]
        for part in batched(going, BATCH):
            Entry.objects.filter(pk__in=part).update(**change)
        _count(
            bank, in_force=len(going) if in_force else -len(going), withdrawn=-len(going) if in_force else len(going)
        )
        if going:
            body = {"count": len(going), "sha256": _digest(found[pk][0] for pk in going), "first": going[:20]}
            step = "entry.restored" if in_force else "entry.withdrawn"
            record([Step(actor=by, step=step, object=f"bank:{bank.name}", reason=reason, body=body)], now=now)
    return len(going)


def dispute_entry(entry_id: int, why: str, *, by: str, now: datetime) -> None:
    """Say that an entry does not belong in its bank. It matches on until somebody withdraws it or settles the dispute.

    Writes one audit step, `entry.disputed`. Raises `BadInput` where no reason is given, `Problem` where there is no such entry.
    """
    if not (why := clean(why, 10_000)):
        raise BadInput("no reason is given", hint="Say why it does not belong there.")
    _change_entry(entry_id, "entry.disputed", why, by=by, now=now, disputed_at=now, disputed_by=by[:200], dispute=why)


def settle_dispute(entry_id: int, reason: str, *, by: str, now: datetime) -> None:
    """The entry stays, for `reason`, and is disputed no more. Writes `entry.dispute_settled`. Raises as `dispute_entry`."""
    if not (reason := clean(reason, 10_000)):
        raise BadInput("no reason is given", hint="Say why it stays.")
    _change_entry(
        entry_id, "entry.dispute_settled", reason, by=by, now=now, disputed_at=None, disputed_by="", dispute=""
    )


def confirm_entries(entries: Iterable[int], *, by: str, now: datetime, own: bool = False) -> int:
    """A person here agrees with entries of other organizations, by their ids; gives how many were not confirmed before.

    With `own` also with those of our own that a program added, so that they may be shared. Others, and those that are
    withdrawn, stay as they are; so do all where `by` is no person. Writes one audit step a bank, `entry.confirmed`.
    """
    if not by.startswith("user:"):
        return 0
    asking = Q(foreign=True) | ~Q(added_by__startswith="user:") if own else Q(foreign=True)
    asked = sorted(set(entries))
    waiting: dict[str, list[int]] = {}
    with transaction.atomic():
        for part in batched(asked, BATCH):
            rows = Entry.objects.filter(asking, pk__in=part, confirmed_at=None, withdrawn_at=None)
            for pk, bank in rows.order_by("pk").values_list("pk", "bank__name"):
                waiting.setdefault(bank, []).append(pk)
        if not waiting:
            return 0
        number = bump()
        steps = []
        for bank, pks in sorted(waiting.items()):
            for part in batched(pks, BATCH):
                Entry.objects.filter(pk__in=part).update(confirmed_at=now, confirmed_by=by[:200], changed=number)
            body = {"count": len(pks), "first": pks[:20]}
            steps.append(Step(actor=by, step="entry.confirmed", object=f"bank:{bank}", body=body))
        record(steps, now=now)
    return sum(map(len, waiting.values()))


def take_back_confirmation(
    entries: Iterable[int], *, confirmed_at: datetime, confirmed_by: str, by: str, now: datetime
) -> int:
    """Undo what `confirm_entries` did at `confirmed_at` for `confirmed_by`; gives how many are unconfirmed again.

    Writes one audit step a bank, `entry.confirmation_undone`.
    """
    done: dict[str, list[int]] = {}
    with transaction.atomic():
        for part in batched(sorted(set(entries)), BATCH):
            rows = Entry.objects.filter(pk__in=part, confirmed_at=confirmed_at, confirmed_by=confirmed_by[:200])
            for pk, bank in rows.order_by("pk").values_list("pk", "bank__name"):
                done.setdefault(bank, []).append(pk)
        if not done:
            return 0
        number = bump()
        steps = []
        for bank, pks in sorted(done.items()):
            for part in batched(pks, BATCH):
                Entry.objects.filter(pk__in=part).update(confirmed_at=None, confirmed_by="", changed=number)
            body = {"count": len(pks), "first": pks[:20]}
            steps.append(Step(actor=by, step="entry.confirmation_undone", object=f"bank:{bank}", body=body))
        record(steps, now=now)
    return sum(map(len, done.values()))


def note_entry(entry_id: int, note: str, *, by: str, now: datetime) -> None:
    """Write the note on an entry anew. Writes `entry.noted`. Raises `Problem` where there is no such entry."""
    note = clean(note, 10_000)
    _change_entry(entry_id, "entry.noted", note, by=by, now=now, note=note)


def give_opinion(entry_id: int, source: str, says: str, *, note: str = "", by: str, now: datetime) -> None:
    """Keep what a source says of an entry (`agrees`, `disagrees`, `seen`), over what it said before.

    Writes `entry.opinion`. A person who agrees confirms the entry. Raises `BadInput` for another word or no source,
    `Problem` where there is no such entry.
    """
    source = clean(source, 200)
    if not source or says not in Opinion.Says.values:
        raise BadInput("not a source and what it says", hint=f"It says {', '.join(Opinion.Says.values)}.")
    with transaction.atomic():
        _change_entry(
            entry_id, "entry.opinion", clean(note, 10_000), by=by, now=now, body={"source": source, "says": says}
        )
        Opinion.objects.update_or_create(
            entry_id=entry_id, source=source, defaults={"says": says, "note": clean(note, 10_000), "at": now}
        )
        if says == Opinion.Says.AGREES:
            confirm_entries([entry_id], by=by, now=now)


class NewOpinion(msgspec.Struct, frozen=True, gc=False):
    """What a source says of an entry: a word of `Opinion.Says`."""

    entry: int
    source: str
    says: str
    note: str = ""


def keep_opinions(opinions: Iterable[NewOpinion], *, now: datetime) -> None:
    """Keep what sources say of many entries, each over what it said before; of one said twice the last stands.

    In the caller's transaction, who writes one audit step for all of them.
    """
    latest = {
        (one.entry, source): (one.entry, source, one.says, clean(one.note, 10_000))
        for one in opinions
        if (source := clean(one.source, 200))
    }
    put(
        Opinion, list(latest.values()), ("entry_id", "source", "says", "note"), same={"at": now},
        unique=("entry_id", "source"), over=("says", "note", "at"),
    )  # fmt: skip


def _change_entry(
    entry_id: int,
    step: str,
    reason: str,
    *,
    by: str,
    now: datetime,
    body: Mapping[str, Any] | None = None,
    **changes: Any,
) -> None:
    with transaction.atomic():
        entry = (
            Entry.objects.select_related("bank")
            .defer("frames")
            .select_for_update(of=("self",))
            .filter(pk=entry_id)
            .first()
        )
        if entry is None:
            raise Problem("no such entry", where=str(entry_id))
        if changes:
            Entry.objects.filter(pk=entry_id).update(**changes)
        body = {"entry": entry_id, **(body or {})}
        record([Step(actor=by, step=step, object=f"bank:{entry.bank.name}", reason=reason, body=body)], now=now)


def entry_id(bank: Bank, text: str) -> int:
    """The id of an entry that a person named by its id or its value. Raises `Problem` where the bank has no such entry."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        pk = Entry.objects.filter(bank=bank, pk=int(text)).values_list("pk", flat=True).first()
        if pk is not None:
            return pk
    try:
        value = canonical(bank.kind, text)
    except BadInput:
        value = text
    pk = Entry.objects.filter(bank=bank, value=value).values_list("pk", flat=True).first()
    if pk is None:
        hint = f"`redshank banks show {bank.name}` shows them."
        raise Problem("no such entry in this bank", where=text[:80], hint=hint)
    return pk


def entry_from_media(hashes: MediaHashes, kind: str, *, label: str = "", note: str = "", source: str = "") -> NewEntry:
    """What a hashed file is in a bank of `kind`: pdq of a picture, video of a video, the digests of either.

    Raises `BadInput` where the file has none of that kind.
    """
    entry = NewEntry(value="", label=label, note=note, source=source)
    replace = msgspec.structs.replace
    if kind in FILES:
        return replace(entry, value=getattr(hashes, kind))
    if signal := next((one for one in hashes.signals if one.kind == kind), None):
        return replace(entry, value=signal.value)
    if isinstance(hashes, ImageHashes):
        if kind == "pdq":
            shown = ((None, hashes.points),) if hashes.points else ()
            return replace(entry, value=hashes.pdq, quality=hashes.quality, points=shown)
        raise BadInput(f"a picture, which a bank of kind {kind} does not take", hint="One of kind pdq does.")
    if kind == "video":
        points = tuple((still.second, still.points) for still in hashes.stills)
        return replace(entry, value=hashes.sha256, frames=hashes.frames, points=points)
    raise BadInput(f"a video, which a bank of kind {kind} does not take", hint="One of kind video does.")


def _given(bank: Bank, item: NewEntry) -> _Given:
    enough = settings.REDSHANK.media.pdq_quality
    value = canonical(bank.kind, item.value)
    weak = weakness(bank.kind, value, quality=item.quality, enough=enough)
    frames = None
    if bank.kind == "video":
        if not item.frames:
            raise BadInput("a video without frames", hint="Add the file itself, or a line of `redshank hash`.")
        frames = pack_frames(item.frames)
        if all(weakness("pdq", frame.pdq, quality=frame.quality, enough=enough) for frame in item.frames):
            weak = weak or "no frame of enough quality"
    return _Given(
        value, frames, weak, clean(item.label, 200), clean(item.note, 10_000), clean(item.source, 200), item.foreign,
        item.from_case,
    )  # fmt: skip


def clean(text: str, most: int) -> str:
    """What both stores can keep: PostgreSQL takes no NUL, and neither takes a lone surrogate."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most].strip() if text else ""


def _reason(problem: Problem) -> str:
    return f"{problem.where}: {problem.what}" if problem.where else problem.what


class _There(NamedTuple):
    """An entry that there is already."""

    id: int
    withdrawn: bool
    by: str


def _there(bank: Bank, values: Iterable[str]) -> dict[str, _There]:
    """Those of `values` that the bank has."""
    rows = pick(Entry, "value", values, ("value", "id", "withdrawn_at", "withdrawn_by"), same={"bank_id": bank.pk})
    return {value: _There(pk, withdrawn is not None, by) for value, pk, withdrawn, by in rows}


def _added_step(bank: Bank, entries: Sequence[_Given], first: Sequence[int], revived: int, by: str) -> Step:
    body = {
        "count": len(entries),
        "revived": revived,
        "weak": sum(bool(entry.weak) for entry in entries),
        "sha256": _digest(entry.value for entry in entries),
        "first": list(first),
    }
    return Step(actor=by, step="entry.added", object=f"bank:{bank.name}", body=body)


def _digest(values: Iterable[str]) -> str:
    """SHA-256 over the values, sorted, one a line: by it an auditor checks a list against the log."""
    return hashlib.sha256("\n".join(sorted(values)).encode("utf-8", "surrogatepass")).hexdigest()


# Import


class _Row(msgspec.Struct):
    """A line of JSON: an entry's fields, or what `redshank hash` prints of a file."""

    value: str = ""
    label: str = ""
    note: str = ""
    source: str = ""
    quality: int | None = None
    frames: tuple[Frame, ...] = ()
    sha256: str = ""
    md5: str = ""
    sha1: str = ""
    sha512: str = ""
    pdq: str = ""


_row = msgspec.json.Decoder(_Row)


def canonical_forms(text: str) -> set[str]:
    """What banks of any kind would keep of `text`; empty where none could."""
    forms: set[str] = set()
    for kind in kinds():
        with suppress(BadInput):
            forms.add(canonical(kind, text))
    return forms


Progress = Callable[[int], None]


def rehearse_import(bank: Bank, lines: TextIO, *, progress: Progress | None = None) -> tuple[Added, list[NewEntry]]:
    """What `import_entries` would do, and nothing done; and the first entries that it would add. 8 bytes of memory a line."""
    fresh, gone, known, weak = (array("q") for _ in range(4))  # Hashes of values: a file may have many millions.
    read = 0
    total = Added()
    first: list[NewEntry] = []
    for good, bad in _parts(bank, lines):
        fitted = fit(bank, [item for _, item in good], [place for place, _ in good])
        there = _there(bank, fitted.wanted)
        for value, entry in fitted.wanted.items():
            one = there.get(value)
            mark = hash(value)
            (fresh if one is None else gone if one.withdrawn else known).append(mark)
            if entry.weak:
                weak.append(mark)
            if one is None and len(first) < SAMPLES:
                first.append(NewEntry(value=value, label=entry.label, note=entry.note, source=entry.source))
        read += len(fitted.wanted) + fitted.repeated
        total = _sum(total, Added(aside=len(fitted.set_aside), set_aside=fitted.set_aside), bad)
        if progress:
            progress(_last(good, bad))
    added, revived, before = (len(np.unique(np.array(marks, np.int64))) for marks in (fresh, gone, known))
    total = msgspec.structs.replace(
        total, added=added, revived=revived, known=before, repeated=read - added - revived - before,
        weak=len(np.unique(np.array(weak, np.int64))),
    )  # fmt: skip
    return total, first


def import_entries(
    bank: Bank,
    lines: TextIO,
    *,
    by: str,
    now: datetime,
    before: tuple[int, Added] = (0, Added()),
    kept: Callable[[int, Added], None] | None = None,
    aside: Callable[[SetAside], None] | None = None,
) -> Added:
    """Add the entries of a file: CSV with a header (value, label, note, source, quality), or JSON lines.

    A JSON line is an object with the same fields, and `frames` for a video; what `redshank hash` prints is taken too.
    A CSV without a header is taken as values alone. Some thousand lines are committed at a time, so that millions take
    little memory, others go on meanwhile, and what was taken stays taken, however this ends: the same file again adds
    the rest, and nothing twice. In the transaction of each part `kept` is told up to which line all is done, and what
    became of it so far; what it raises undoes that part. `before`: the same of the last time, to go on from there. `aside`
    is told each line that is set aside. Raises `BadInput` for a file that is neither.
    """
    after, total = before
    turns = Turns(IMPORTED)
    for good, bad in _parts(bank, lines, after, turns):
        fitted = fit(bank, [item for _, item in good], [place for place, _ in good])
        with turns.next():
            one = add_fitted(bank, fitted, by=by, now=now)
            total = _sum(total, one, bad)
            if kept:
                kept(_last(good, bad), total)
        if aside:
            for each in sorted((*bad, *one.set_aside), key=lambda each: each.place):
                aside(each)
    return total


def _last(good: Sequence[tuple[int, NewEntry]], bad: Sequence[SetAside]) -> int:
    return max([place for place, _ in good] + [each.place for each in bad])


def _sum(total: Added, one: Added, bad: Sequence[SetAside]) -> Added:
    set_aside = sorted((*bad, *one.set_aside), key=lambda each: each.place)
    return Added(
        added=total.added + one.added, known=total.known + one.known, revived=total.revived + one.revived,
        repeated=total.repeated + one.repeated, weak=total.weak + one.weak, aside=total.aside + one.aside + len(bad),
        set_aside=(*total.set_aside, *set_aside[: NAMED - len(total.set_aside)]),
    )  # fmt: skip


def _parts(
    bank: Bank, lines: TextIO, after: int = 0, turns: Turns | None = None
) -> Iterator[tuple[list[tuple[int, NewEntry]], list[SetAside]]]:
    """A file's entries beyond a line with their places, and what is none, as much at a time as is committed together."""
    good: list[tuple[int, NewEntry]] = []
    bad: list[SetAside] = []
    frames = 0
    for place, item in _rows(bank, lines):
        if place <= after:
            continue
        if isinstance(item, SetAside):
            bad.append(item)
        else:
            good.append((place, item))
            frames += len(item.frames)
        if len(good) + len(bad) >= (turns.size if turns else IMPORTED) or frames >= FRAMES:
            yield good, bad
            good, bad, frames = [], [], 0
    if good or bad:
        yield good, bad


def _rows(bank: Bank, lines: TextIO) -> Iterator[tuple[int, NewEntry | SetAside]]:
    first = ""
    skipped = 0
    while not first:
        line = lines.readline(MAX_LINE)
        if not line:
            return
        first = line.strip("\ufeff \t\r\n")
        skipped += not first
    if first.startswith("{"):
        yield from _json_rows(bank, _bounded(lines, line, skipped + 1))
    elif first[0] in "<[":
        raise BadInput("neither CSV nor lines of JSON", where="its first line", hint="It begins with " + first[0] + ".")
    else:
        yield from _csv_rows(_bounded(lines, line, skipped + 1))


def _bounded(lines: TextIO, first: str, number: int) -> Iterator[tuple[int, str | SetAside]]:
    """The lines with their numbers; in place of one that is too long, why it is set aside."""
    line = first
    while line:
        rest = line
        while rest and not rest.endswith("\n"):
            rest = lines.readline(MAX_LINE)
        too_long = len(line) >= MAX_LINE and not line.endswith("\n")
        yield number, SetAside(number, line[:200], f"{MAX_LINE:,} characters or more") if too_long else line
        line = lines.readline(MAX_LINE)
        number += 1


def _json_rows(bank: Bank, lines: Iterator[tuple[int, str | SetAside]]) -> Iterator[tuple[int, NewEntry | SetAside]]:
    for place, line in lines:
        if isinstance(line, SetAside):
            yield place, line
            continue
        text = line.strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            row = _row.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield place, SetAside(place, text[:200], f"not a line of JSON with an entry's fields: {error}")
            continue
        value = row.value or getattr(row, "sha256" if bank.kind == "video" else bank.kind, "")
        yield (
            place,
            NewEntry(
                value=value, label=row.label, note=row.note, source=row.source, quality=row.quality, frames=row.frames
            ),
        )


_COLUMNS = ("value", "label", "note", "source", "quality")
_LINES = 20
"""Lines that a cell in quotes may run over; a quote that is open for longer was never meant to be one."""


def _csv_rows(lines: Iterator[tuple[int, str | SetAside]]) -> Iterator[tuple[int, NewEntry | SetAside]]:
    columns: list[str] | None = None
    delimiter = ","
    for place, text in _records(lines):
        if isinstance(text, SetAside):
            yield place, text
            continue
        if columns is None and "," not in text:
            delimiter = next((char for char in ";\t" if char in text), ",")
        try:
            cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            yield place, SetAside(place, text[:200], f"not a line of CSV: {error}")
            continue
        if columns is None:
            names = [cell.strip().lower() for cell in cells]
            if "value" in names:
                if strange := [name for name in names if name not in _COLUMNS]:
                    hint = f"There are {', '.join(_COLUMNS)}."
                    raise BadInput(f"an unknown column {strange[0][:80]!r}", where="its first line", hint=hint)
                columns = names
                continue
            columns = ["value"]
        yield place, _csv_row(place, text, cells, columns)


def _csv_row(place: int, text: str, cells: list[str], columns: list[str]) -> NewEntry | SetAside:
    if len(cells) > len(columns):
        said = f"the header names {len(columns)}" if columns != ["value"] else "without a header there is one"
        return SetAside(place, text[:200], f"{len(cells)} cells; {said}")
    row = dict(zip(columns, cells, strict=False))
    quality = row.get("quality", "").strip()
    if quality and not (quality.isascii() and quality.isdigit() and int(quality[:9]) <= 100):
        return SetAside(place, text[:200], f"a quality of {quality[:20]!r}; it is 0 to 100")
    return NewEntry(
        value=row.get("value", ""), label=row.get("label", ""), note=row.get("note", ""),
        source=row.get("source", ""), quality=int(quality) if quality else None,
    )  # fmt: skip


def _records(lines: Iterator[tuple[int, str | SetAside]]) -> Iterator[tuple[int, str | SetAside]]:
    """The lines, those joined over which a quoted cell runs."""
    ahead: deque[tuple[int, str | SetAside]] = deque()
    while one := ahead.popleft() if ahead else next(lines, None):
        place, first = one
        if isinstance(first, SetAside):
            yield one
            continue
        text = first
        joined = 0
        while text.count('"') % 2 and joined < _LINES:
            if joined == len(ahead):
                if (more := next(lines, None)) is None:
                    break
                ahead.append(more)
            part = ahead[joined][1]
            if isinstance(part, SetAside):
                break
            text += part
            joined += 1
        if text.count('"') % 2:  # Never closed: this line is bad, and those after it stand for themselves.
            text = first
        else:
            for _ in range(joined):
                ahead.popleft()
        text = text.replace("\0", "").strip("\ufeff\r\n")
        if text.strip():
            yield place, text
