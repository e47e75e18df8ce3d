"""What a rule did lately on live traffic, or would have done in the shadow: from the past, and from what is not in it yet.

An event is counted once, wherever it stands. What comes out has the shape of a backtest's, so that the same page shows
what a rule would have done then and what it does now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import msgspec

from redshank.archive.past_writer import everything, past
from redshank.core import event_key
from redshank.rules.backtest import SAMPLES, Day, Sample, Tried
from redshank.rules.precision import Precision

MOST = 20_000
"""Events that are looked at; of a rule that fired more often, the newest."""
Subject = tuple[str, str, str]
Decided = Callable[[Collection[Subject]], Mapping[Subject, bool]]


class _Effect(msgspec.Struct, frozen=True):
    effect: str = ""


class _Fired(msgspec.Struct, frozen=True):
    rule: str
    version: str
    live: bool
    because: tuple[str, ...] = ()
    effects: tuple[_Effect, ...] = ()


class _Verdict(msgspec.Struct, frozen=True):
    fired: tuple[_Fired, ...] = ()


_decoder = msgspec.json.Decoder(_Verdict)


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """One event on which a rule fired. `beside` are the rules that fired live on it, itself included."""

    network: str
    event: str
    at: datetime
    account: str
    subject: Subject | None
    version: str
    because: tuple[str, ...]
    opens: bool
    beside: tuple[str, ...]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule did since a time, the newest first. `unsure` counts events on which it could not be evaluated and said so."""

    since: datetime
    firings: tuple[Firing, ...]
    unsure: int
    is_cut: bool


def recent(rule_id: str, *, since: datetime, most: int = MOST) -> tuple[Record, Record]:
    """The events since a time, their own, on which a rule fired: live, and in the shadow."""
    now = everything(since=since)
    named = f'"rule":"{rule_id}"'
    rows = [
        *_of_the_past(rule_id, now.files, since, most),
        *(
            (one.network, one.id, one.at, one.account, one.subject_kind, one.subject_id, one.verdict)
            for one in now.fresh
            if one.at >= since and named in one.verdict
        ),
    ]
    rows.sort(key=lambda row: row[2], reverse=True)
    of_live, of_shadow = (_record(rule_id, rows[:most], live, since, len(rows) >= most) for live in (True, False))
    return of_live, of_shadow


Row = tuple[str, str, datetime, str, str, str, str]


def _record(rule_id: str, rows: Sequence[Row], live: bool, since: datetime, is_cut: bool) -> Record:
    firings: list[Firing] = []
    unsure = 0
    for network, event, at, account, kind, subject, verdict in rows:
        fired = _decoder.decode(verdict).fired
        own = next((one for one in fired if one.rule == rule_id and one.live is live), None)
        if own is None:
            continue
        if any(line.startswith("could not be evaluated:") for line in own.because):
            unsure += 1
            continue
        firings.append(
            Firing(
                network=network,
                event=event,
                at=at,
                account=account,
                subject=(network, kind, subject) if subject else None,
                version=own.version,
                because=own.because,
                opens=any(effect.effect == "open_case" for effect in own.effects),
                beside=tuple(one.rule for one in fired if one.live),
            )
        )
    return Record(since=since, firings=tuple(firings), unsure=unsure, is_cut=is_cut)


def _of_the_past(rule_id: str, files: Sequence[Path], since: datetime, most: int) -> list[Row]:
    import duckdb

    query = (
        'SELECT network, id, "at", account, subject_kind, subject_id, verdict FROM events '
        'WHERE (list_contains(rules, ?) OR list_contains(shadow, ?)) AND "at" >= ? ORDER BY "at" DESC LIMIT ?'
    )
    values = [rule_id, rule_id, since.astimezone(UTC).replace(tzinfo=None), most]
    for tries in range(3):
        there = [file for file in files if file.exists()]
        if not there:
            return []
        try:
            with past().open(there) as database:
                rows = database.execute(query, values).fetchall()
            return [(row[0], row[1], row[2].replace(tzinfo=UTC), *row[3:]) for row in rows]
        except duckdb.IOException:  # A file went between listing and reading: retention, or an erasure.
            if tries == 2:
                raise
    raise AssertionError


def tell(rule_id: str, version: str, mode: str, record: Record, decided: Decided) -> Tried:
    """A record as a backtest tells it, beside what people decided on the same subjects."""
    days: dict[str, list[Firing]] = {}
    beside: Counter[str] = Counter()
    then = alone = 0
    for one in record.firings:
        days.setdefault(one.at.astimezone(UTC).date().isoformat(), []).append(one)
        others = [rule for rule in one.beside if rule != rule_id]
        beside.update(others)
        alone += not others
        then += mode != "live" and rule_id in one.beside
    subjects = {one.subject for one in record.firings if one.subject}
    words = Counter(decided(subjects).values())
    chosen = sorted(record.firings, key=lambda one: blake2b(event_key(one.network, one.event).encode(), digest_size=8).digest())  # fmt: skip
    return Tried(
        rule=rule_id,
        version=version,
        mode=mode,
        events=len(record.firings),
        accounts=len(_accounts(record.firings)),
        cases=len(_cases(record.firings)),
        unsure=record.unsure,
        alone=alone,
        then=then,
        beside=dict(sorted(beside.items(), key=lambda one: (-one[1], one[0]))),
        days=tuple(
            Day(day, len(found), len(_accounts(found)), len(_cases(found))) for day, found in sorted(days.items())
        ),
        samples=tuple(
            Sample(
                event_key(one.network, one.event), one.at, one.because, one.account,
                f"{one.subject[1]}/{one.subject[2]}" if one.subject else "",
            )
            for one in chosen[:SAMPLES]
        ),
        lacks=(),
        subjects=len(subjects),
        precision=Precision(words[True], words[False]),
    )  # fmt: skip


def since_days(now: datetime, days: int) -> datetime:
    """The beginning (UTC) of the first of so many days, of which today is the last."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


def _accounts(firings: Sequence[Firing]) -> set[tuple[str, str]]:
    return {(one.network, one.account) for one in firings if one.account}


def _cases(firings: Sequence[Firing]) -> set[Subject]:
    return {one.subject for one in firings if one.subject and one.opens}
