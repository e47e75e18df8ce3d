"""Rules over the past: what they would have done, beside what was done then.

Every archived event is judged again, as of its receipt, with the findings of then, and nothing is done about it. Files
are shared out among processes; what each gives can be added up in any order, samples included, so the same past and the
same rules always give the same outcome. The past does not hold our labels of then, nor hashes that were reckoned here.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from redshank.archive.past import Past
from redshank.core import Event, Finding, Fired, OpenCase, event_key, subject_of
from redshank.rules.loader import load_rules
from redshank.rules.ruleset import Facts, Rule, RuleSet
from redshank.rules.tree import Attribute, walk

SAMPLES = 20
"""Events of each rule to look at: those whose keys hash lowest, which is a fair draw."""
_COLUMNS = ("network", "id", "at", "received_at", "rules", "body", "verdict")
_DAY = timedelta(days=1) // timedelta(microseconds=1)
_EPOCH = date(1970, 1, 1)
Hashes = npt.NDArray[np.uint64]


class _Seen(msgspec.Struct):
    findings: tuple[Finding, ...] = ()


_event_decoder = msgspec.json.Decoder(Event)
_seen_decoder = msgspec.json.Decoder(_Seen)


class Day(msgspec.Struct, frozen=True):
    """One rule on one day (UTC) of the events' own time: events, and different accounts and cases among them.

    A case is a subject for which one is asked; a case that stays open over days counts on each of them.
    """

    day: str
    events: int
    accounts: int
    cases: int


class Sample(msgspec.Struct, frozen=True, order=True):
    """One event on which a rule fired, `network/id`, and the values that made it fire."""

    event: str
    at: datetime
    because: tuple[str, ...]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule would have done. `accounts` and `cases` are different ones over the whole stretch.

    `beside` has, by id, the other rules that fired live on the same events then; `alone` are events on which none did.
    `then` are the events on which a rule of this id fired live then, too. `unsure` are those on which it could not be
    evaluated. `lacks` says what the past does not hold of what the rule asks for.
    """

    rule: str
    version: str
    mode: str
    events: int
    accounts: int
    cases: int
    unsure: int
    alone: int
    then: int
    beside: dict[str, int]
    days: tuple[Day, ...]
    samples: tuple[Sample, ...]
    lacks: tuple[str, ...]


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backtest: how many events were judged, how many could not be read, from when to when, and each rule."""

    events: int
    unread: int
    first: datetime | None
    last: datetime | None
    rules: tuple[Tried, ...]


class _Tally:
    """One rule, in one file."""

    def __init__(self) -> None:
        self.events: Counter[int] = Counter()
        self.accounts: dict[int, set[int]] = {}
        self.cases: dict[int, set[int]] = {}
        self.unsure = self.alone = self.then = 0
        self.beside: Counter[str] = Counter()
        self.samples: list[tuple[int, Sample]] = []  # a heap, the highest hash first


class _OfRule(NamedTuple):
    events: Counter[int]
    accounts: dict[int, Hashes]
    cases: dict[int, Hashes]
    numbers: tuple[int, int, int]
    beside: Counter[str]
    samples: list[tuple[int, Sample]]


class _Part(NamedTuple):
    """What one file gives, in a shape that passes between processes: sets as arrays of 64-bit hashes."""

    events: int
    unread: int
    first: int
    last: int
    rules: dict[str, _OfRule]


def backtest(
    past: Past,
    path: Path,
    lists: Mapping[str, frozenset[str]] | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    network: str | None = None,
    processes: int | None = None,
) -> Backtest:
    """Judge the events of `past` that happened from `since` on and before `until` by the rules of `path`.

    `path` and `lists` are as for `load_rules`, whose errors it raises. Rules that are off are left out. `processes` is
    all processors where it is None.
    """
    rules = load_rules(path, lists or {})
    files = past.files(network=network, since=since)
    bounds = (_micros(since), _micros(until))
    number = min(processes or os.cpu_count() or 1, len(files))
    if number <= 1:
        return _outcome(rules, (_judge(rules, past, file, bounds) for file in files))
    with ProcessPoolExecutor(
        number, get_context("spawn"), initializer=_begin, initargs=(past.root, path, dict(lists or {}), bounds)
    ) as pool:
        parts = pool.map(_judge_here, files, chunksize=max(1, min(8, len(files) // (4 * number))))
        return _outcome(rules, parts)


_here: tuple[RuleSet, Past, tuple[int | None, int | None]] | None = None


def _begin(root: Path, path: Path, lists: Mapping[str, frozenset[str]], bounds: tuple[int | None, int | None]) -> None:
    global _here  # noqa: PLW0603 - what a process of the pool works with
    _here = (load_rules(path, lists), Past(root), bounds)


def _judge_here(file: Path) -> _Part:
    assert _here is not None
    rules, past, bounds = _here
    return _judge(rules, past, file, bounds)


def _judge(rules: RuleSet, past: Past, file: Path, bounds: tuple[int | None, int | None]) -> _Part:
    tallies = {rule.id: _Tally() for rule in rules.rules if rule.mode != "off"}
    hashes: dict[str, int] = {}
    events = unread = 0
    first, last = 2**63 - 1, -(2**63)

    def hash_of(key: str) -> int:
        found = hashes.get(key)
        if found is None:
            found = hashes[key] = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        return found

    for batch in past.read(file, _COLUMNS):
        rows = _within(batch, bounds)
        columns = [rows.column(name) for name in _COLUMNS]
        ats = columns[2].cast(pa.int64()).to_pylist()
        lists = [
            column.to_pylist() for column in (columns[0], columns[1], columns[3], columns[4], columns[5], columns[6])
        ]
        for at, network, id_, received, before, body, verdict in zip(ats, *lists, strict=True):
            try:
                event = _event_decoder.decode(body)
                seen = _seen_decoder.decode(verdict).findings if verdict else ()
            except msgspec.MsgspecError:  # Of another version of the schema.
                unread += 1
                continue
            events += 1
            first, last = min(first, at), max(last, at)
            findings = tuple(finding for finding in seen if not (finding.match and finding.match.withheld))
            fired, errors = rules.evaluate(Facts(event, findings, received.replace(tzinfo=UTC)))
            for error in errors:
                tallies[error.partition(":")[0]].unsure += 1
            if not fired:
                continue
            key = event_key(network, id_)
            day = at // _DAY
            for found in fired:
                if not any(line.startswith("could not be evaluated:") for line in found.because):
                    _count(tallies[found.rule], found, event, key, day, before, hash_of)
    return _Part(
        events,
        unread,
        first,
        last,
        {
            rule: _OfRule(
                tally.events,
                {day: _array(found) for day, found in tally.accounts.items()},
                {day: _array(found) for day, found in tally.cases.items()},
                (tally.unsure, tally.alone, tally.then),
                tally.beside,
                [(-negative, sample) for negative, sample in tally.samples],
            )
            for rule, tally in tallies.items()
        },
    )


def _count(
    tally: _Tally, fired: Fired, event: Event, key: str, day: int, before: list[str], hash_of: Callable[[str], int]
) -> None:
    tally.events[day] += 1
    account = getattr(event, "account", None)
    if account is not None:
        tally.accounts.setdefault(day, set()).add(hash_of(f"{event.network}/{account.id}"))
    subject = subject_of(event)
    if subject is not None and any(isinstance(effect, OpenCase) for effect in fired.effects):
        tally.cases.setdefault(day, set()).add(hash_of(f"{subject.network}/{subject.kind}/{subject.id}"))
    others = [rule for rule in before if rule != fired.rule]
    tally.then += len(others) < len(before)
    tally.beside.update(others)
    tally.alone += not others
    place = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    if len(tally.samples) < SAMPLES or -place > tally.samples[0][0]:
        entry = (-place, Sample(key, event.at, fired.because))
        if len(tally.samples) < SAMPLES:
            heapq.heappush(tally.samples, entry)
        else:
            heapq.heappushpop(tally.samples, entry)


def _within(batch: pa.RecordBatch, bounds: tuple[int | None, int | None]) -> pa.RecordBatch:
    since, until = bounds
    at = batch.column("at").cast(pa.int64())
    if since is not None and len(batch) and pc.min(at).as_py() < since:
        batch = batch.filter(pc.greater_equal(at, since))
        at = batch.column("at").cast(pa.int64())
    if until is not None and len(batch) and pc.max(at).as_py() >= until:
        batch = batch.filter(pc.less(at, until))
    return batch


def _outcome(rules: RuleSet, parts: Iterable[_Part]) -> Backtest:
    events = unread = 0
    first, last = 2**63 - 1, -(2**63)
    sums: dict[str, _Sum] = {rule.id: _Sum() for rule in rules.rules if rule.mode != "off"}
    for part in parts:
        events += part.events
        unread += part.unread
        first, last = min(first, part.first), max(last, part.last)
        for rule, (by_day, accounts, cases, numbers, beside, samples) in part.rules.items():
            total = sums[rule]
            total.events.update(by_day)
            for kept, new in ((total.accounts, accounts), (total.cases, cases)):
                for day, found in new.items():
                    kept.setdefault(day, []).append(found)
            total.numbers = [one + other for one, other in zip(total.numbers, numbers, strict=True)]
            total.beside.update(beside)
            total.samples = heapq.nsmallest(SAMPLES, [*total.samples, *samples], key=lambda entry: entry[0])
    return Backtest(
        events=events,
        unread=unread,
        first=_time(first) if events else None,
        last=_time(last) if events else None,
        rules=tuple(_tried(rule, sums[rule.id]) for rule in rules.rules if rule.mode != "off"),
    )


class _Sum:
    def __init__(self) -> None:
        self.events: Counter[int] = Counter()
        self.accounts: dict[int, list[Hashes]] = {}
        self.cases: dict[int, list[Hashes]] = {}
        self.numbers = [0, 0, 0]
        self.beside: Counter[str] = Counter()
        self.samples: list[tuple[int, Sample]] = []


def _tried(rule: Rule, total: _Sum) -> Tried:
    accounts = {day: _union(found) for day, found in total.accounts.items()}
    cases = {day: _union(found) for day, found in total.cases.items()}
    unsure, alone, then = total.numbers
    return Tried(
        rule=rule.id,
        version=rule.version,
        mode=rule.mode,
        events=total.events.total(),
        accounts=len(_union(list(accounts.values()))),
        cases=len(_union(list(cases.values()))),
        unsure=unsure,
        alone=alone,
        then=then,
        beside=dict(total.beside.most_common()),
        days=tuple(
            Day((_EPOCH + timedelta(days=day)).isoformat(), number, len(accounts.get(day, ())), len(cases.get(day, ())))
            for day, number in sorted(total.events.items())
        ),
        samples=tuple(sample for _, sample in total.samples),
        lacks=_lacks(rule),
    )


def _lacks(rule: Rule) -> tuple[str, ...]:
    nodes = list(walk(rule.tree))
    said = []
    if any(node.key == "account.labels" for node in nodes):
        said.append("our labels on accounts, taken as none")
    if any(node.key == "ties" for node in nodes):
        said.append("ties to suspended accounts")
    if any(isinstance(node, Attribute) and node.name in ("sha256", "md5", "pdq") for node in nodes):
        said.append("hashes of media that the platform did not send")
    return tuple(said)


def _array(found: set[int]) -> Hashes:
    return np.fromiter(found, np.uint64, len(found))


def _union(found: Sequence[Hashes]) -> Hashes:
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _micros(time: datetime | None) -> int | None:
    return None if time is None else (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
