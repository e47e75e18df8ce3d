"""Rules over the past: what they would have done, beside what was done then.

Every archived event is judged again, as of its receipt, with the findings of then, and nothing is done about it. Files
are shared out among processes; what each gives can be added up in any order, samples included, so the same past and the
same rules always give the same outcome. Counters are counted anew from the events themselves, as they came: what came at
once, in the order in which it happened. The past does not hold our labels of then, nor hashes that were reckoned here.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import groupby
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from redshank.archive.past import Past
from redshank.core import BankTexts, Event, Finding, Fired, OpenCase, event_key, subject_of
from redshank.matching import holder
from redshank.rules.counting import Ask, Ledger, moment
from redshank.rules.diagnostics import RuleErrors
from redshank.rules.loader import Folder, Written
from redshank.rules.precision import Precision
from redshank.rules.ruleset import Facts, Holds, Rule, RuleSet, TextsOf
from redshank.rules.tree import Attribute, banks_of, walk

HOLDS = 100_000
"""Texts for which it is remembered whether a bank holds them."""
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
    """One event on which a rule fired, `network/id`, and the values that made it fire.

    `account` is the id of who did it, `subject` what it is about, as `kind/id`; both may be empty.
    """

    event: str
    at: datetime
    because: tuple[str, ...]
    account: str = ""
    subject: str = ""


class Ruled(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules: those of a file or folder, and such as stand in no file; where `only` has ids, none but those.

    What `only` names is tried even if it is off. `banks` has what the banks hold now that the rules look texts up in; those
    that it lacks are missing.
    """

    path: Path
    lists: dict[str, frozenset[str]] = {}
    written: tuple[Written, ...] = ()
    only: frozenset[str] | None = None
    banks: Mapping[str, BankTexts] = {}

    def holds(self) -> Holds:
        """Looks texts up in the banks, and remembers what it found."""
        return lru_cache(HOLDS)(holder(self.banks))

    def load(self) -> RuleSet:
        """The rules. Raises `RuleErrors`."""
        folder = Folder(self.path, self.lists)
        others = [folder.beside(one) for one in self.written]
        wrong = [found for other in others if other.rules is None for found in other.diagnostics]
        if wrong:
            raise RuleErrors(wrong)
        whole = folder.merged(others)
        if self.only is None:
            return whole
        some = [rule for rule in whole.rules if rule.id in self.only]
        tried = [msgspec.structs.replace(rule, mode="shadow") if rule.mode == "off" else rule for rule in some]
        return RuleSet(tried, fields=whole.fields, origins=whole.origins)


def with_banks(ruled: Ruled, texts_of: TextsOf) -> Ruled:
    """The same rules, with what the banks hold now that they look texts up in. Raises the errors of the rules."""
    banks = frozenset().union(*(banks_of(rule.tree) for rule in ruled.load().rules))
    return msgspec.structs.replace(ruled, banks=texts_of(banks)) if banks else ruled


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule would have done. `accounts` and `cases` are different ones over the whole stretch.

    `beside` has, by id, the other rules that fired live on the same events then; `alone` are events on which none did.
    `then` are the events on which a rule of this id fired live then, too. `unsure` are those on which it could not be
    evaluated. `lacks` says what the past does not hold of what the rule asks for. `subjects` are the different things
    that the events are about, and `precision` is reckoned from those of them that people decided on.
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
    subjects: int = 0
    precision: Precision = Precision()


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
        self.subjects: set[int] = set()
        self.unsure = self.alone = self.then = 0
        self.beside: Counter[str] = Counter()
        self.samples: list[tuple[int, Sample]] = []  # a heap, the highest hash first


class _OfRule(NamedTuple):
    events: Counter[int]
    accounts: dict[int, Hashes]
    cases: dict[int, Hashes]
    subjects: Hashes
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
    ruled: Ruled,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    network: str | None = None,
    decided: Mapping[str, bool] = {},
    processes: int | None = None,
    apart: bool = False,
    told: Callable[[int, int], None] | None = None,
) -> Backtest:
    """Judge the events of `past` that happened from `since` on and before `until`; raises the errors of the rules.

    Rules that are off are left out. `decided` has what people decided, by subject (`network/kind/id`): True where they
    acted on it. `processes` is all processors where it is None; `apart` leaves this process free, and the others give
    way to all other work on the machine. `told` hears of files done and in all, about once a second; what it raises ends
    the backtest.
    """
    rules = ruled.load()
    files = past.files(network=network, since=since)
    bounds = (_micros(since), _micros(until))
    number = min(processes or os.cpu_count() or 1, len(files))
    say = told or (lambda _done, _whole: None)
    say(0, len(files))
    before = since - timedelta(microseconds=_reach(rules)) if since and rules.counters else since
    days = _by_day(past.files(network=network, since=before)) if rules.counters else []
    if number <= 1 and not apart:
        return _outcome(rules, _one_by_one(_Tools(rules, past, bounds, ruled.holds()), files, days), decided)
    return _outcome(rules, _side_by_side(past, ruled, files, days, bounds, max(1, number), apart, say), decided)


def _reach(rules: RuleSet) -> int:
    return max(found.counter.window for found in rules.counters.values())


def _by_day(files: Sequence[Path]) -> list[list[Path]]:
    return [list(found) for _, found in groupby(files, key=lambda file: file.parent.name)]


_Bounds = tuple[int | None, int | None]


class _Tools(NamedTuple):
    """What a process works with."""

    rules: RuleSet
    past: Past
    bounds: _Bounds
    holds: Holds

    def facts(self, body: str, verdict: str, received: datetime) -> Facts:
        """What is known of an event of the past. Raises `MsgspecError` for one of another version of the schema."""
        event = _event_decoder.decode(body)
        seen = _seen_decoder.decode(verdict).findings if verdict else ()
        findings = tuple(finding for finding in seen if not (finding.match and finding.match.withheld))
        return Facts(event, findings, received.replace(tzinfo=UTC), holds=self.holds)


def _one_by_one(tools: _Tools, files: Sequence[Path], days: Sequence[Sequence[Path]]) -> Iterator[_Part]:
    if not days:
        yield from (_judge(tools, file, None) for file in files)
        return
    ledger, wanted = Ledger(), set(files)
    for day in days:
        told = _told(ledger, {file: _asks(tools, file) for file in day})
        yield from (_judge(tools, file, told[file]) for file in day if file in wanted)


class _Asked(NamedTuple):
    """What counters ask of one event, in the order in which events are counted: by receipt, then by their own time."""

    received: int
    at: int
    id: str
    asks: Sequence[Ask]


_Told = dict[str, Mapping[int, int]]
"""What counters say, by event."""


def _asks(tools: _Tools, file: Path) -> list[_Asked]:
    out = []
    for batch in tools.past.read(file, ("id", "received_at", "body", "verdict")):
        columns = [batch.column(name).to_pylist() for name in ("id", "received_at", "body", "verdict")]
        for id_, received, body, verdict in zip(*columns, strict=True):
            try:
                facts = tools.facts(body, verdict, received)
            except msgspec.MsgspecError:
                continue
            if asks := tools.rules.asks(facts):
                out.append(_Asked(moment(facts.now), moment(facts.event.at), id_, asks))
    return out


def _told(ledger: Ledger, asked: Mapping[Path, Sequence[_Asked]]) -> dict[Path, _Told]:
    """Count one day's events, as they came."""
    told: dict[Path, _Told] = {file: {} for file in asked}
    everyone = sorted((one[:3], file, one.asks) for file, found in asked.items() for one in found)
    for (_, at, id_), file, asks in everyone:
        told[file][id_] = ledger.count(asks, at)
    if everyone:
        ledger.sweep(everyone[-1][0][0])  # By receipt, as the store does: one event of long ago keeps nothing alive.
    return told


def _side_by_side(
    past: Past,
    ruled: Ruled,
    files: Sequence[Path],
    days: Sequence[Sequence[Path]],
    bounds: _Bounds,
    number: int,
    apart: bool,
    say: Callable[[int, int], None],
) -> Iterator[_Part]:
    context = get_context("spawn")
    pool = ProcessPoolExecutor(number, context, initializer=_begin, initargs=(past.root, ruled, bounds, apart))
    done = 0
    try:
        left = {pool.submit(_judge_here, file, None) for file in files} if not days else set()
        ledger, wanted = Ledger(), set(files)
        asking = [{file: pool.submit(_asks_here, file) for file in day} for day in days[:1]]
        for at, day in enumerate(days):  # While one day is counted, the next is asked.
            asking += [{file: pool.submit(_asks_here, file) for file in after} for after in days[at + 1 : at + 2]]
            asked = asking.pop(0)
            while wait(asked.values(), timeout=1).not_done:
                say(done, len(files))
            told = _told(ledger, {file: one.result() for file, one in asked.items()})
            left |= {pool.submit(_judge_here, file, told[file]) for file in day if file in wanted}
            ended = {one for one in left if one.done()}
            left -= ended
            done += len(ended)
            say(done, len(files))
            yield from (one.result() for one in ended)
        while left:
            ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in ended)
            say(len(files) - len(left), len(files))
    finally:
        pool.shutdown(cancel_futures=True)


_here: _Tools | None = None


def _begin(root: Path, ruled: Ruled, bounds: _Bounds, apart: bool) -> None:
    global _here  # noqa: PLW0603 - what a process of the pool works with
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if apart:
        os.nice(10)
    _here = _Tools(ruled.load(), Past(root), bounds, ruled.holds())


def _end_with_parent() -> None:
    """A pool's process waits for work for ever, also when whoever gives it was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _judge_here(file: Path, counts: _Told | None) -> _Part:
    assert _here is not None
    return _judge(_here, file, counts)


def _asks_here(file: Path) -> list[_Asked]:
    assert _here is not None
    return _asks(_here, file)


def _judge(tools: _Tools, file: Path, counts: _Told | None) -> _Part:
    tallies = {rule.id: _Tally() for rule in tools.rules.rules if rule.mode != "off"}
    hashes: dict[str, int] = {}
    events = unread = 0
    first, last = 2**63 - 1, -(2**63)

    def hash_of(key: str) -> int:
        found = hashes.get(key)
        if found is None:
            found = hashes[key] = _hash(key)
        return found

    for batch in tools.past.read(file, _COLUMNS):
        rows = _within(batch, tools.bounds)
        columns = [rows.column(name) for name in _COLUMNS]
        ats = columns[2].cast(pa.int64()).to_pylist()
        lists = [
            column.to_pylist() for column in (columns[0], columns[1], columns[3], columns[4], columns[5], columns[6])
        ]
        for at, network, id_, received, before, body, verdict in zip(ats, *lists, strict=True):
            try:
                facts = tools.facts(body, verdict, received)
            except msgspec.MsgspecError:  # Of another version of the schema.
                unread += 1
                continue
            events += 1
            first, last = min(first, at), max(last, at)
            if counts is not None:
                facts.counts = counts.get(id_, {})
            fired, errors = tools.rules.evaluate(facts)
            for error in errors:
                tallies[error.partition(":")[0]].unsure += 1
            if not fired:
                continue
            key = event_key(network, id_)
            day = at // _DAY
            for found in fired:
                if not any(line.startswith("could not be evaluated:") for line in found.because):
                    _count(tallies[found.rule], found, facts.event, key, day, before, hash_of)
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
                _array(tally.subjects),
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
    if subject is not None:
        about = hash_of(f"{subject.network}/{subject.kind}/{subject.id}")
        tally.subjects.add(about)
        if any(isinstance(effect, OpenCase) for effect in fired.effects):
            tally.cases.setdefault(day, set()).add(about)
    others = [rule for rule in before if rule != fired.rule]
    tally.then += len(others) < len(before)
    tally.beside.update(others)
    tally.alone += not others
    place = _hash(key)
    if len(tally.samples) < SAMPLES or -place > tally.samples[0][0]:
        who, what = account.id if account is not None else "", f"{subject.kind}/{subject.id}" if subject else ""
        entry = (-place, Sample(key, event.at, fired.because, who, what))
        if len(tally.samples) < SAMPLES:
            heapq.heappush(tally.samples, entry)
        else:
            heapq.heappushpop(tally.samples, entry)


def _within(batch: pa.RecordBatch, bounds: _Bounds) -> pa.RecordBatch:
    since, until = bounds
    at = batch.column("at").cast(pa.int64())
    if since is not None and len(batch) and pc.min(at).as_py() < since:
        batch = batch.filter(pc.greater_equal(at, since))
        at = batch.column("at").cast(pa.int64())
    if until is not None and len(batch) and pc.max(at).as_py() >= until:
        batch = batch.filter(pc.less(at, until))
    return batch


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _outcome(rules: RuleSet, parts: Iterable[_Part], decided: Mapping[str, bool]) -> Backtest:
    events = unread = 0
    first, last = 2**63 - 1, -(2**63)
    sums: dict[str, _Sum] = {rule.id: _Sum() for rule in rules.rules if rule.mode != "off"}
    for part in parts:
        events += part.events
        unread += part.unread
        first, last = min(first, part.first), max(last, part.last)
        for rule, (by_day, accounts, cases, subjects, numbers, beside, samples) in part.rules.items():
            total = sums[rule]
            total.events.update(by_day)
            for kept, new in ((total.accounts, accounts), (total.cases, cases)):
                for day, found in new.items():
                    kept.setdefault(day, []).append(found)
            total.subjects.append(subjects)
            total.numbers = [one + other for one, other in zip(total.numbers, numbers, strict=True)]
            total.beside.update(beside)
            total.samples = heapq.nsmallest(SAMPLES, [*total.samples, *samples], key=lambda entry: entry[0])
    words = tuple(_array({_hash(key) for key, acted in decided.items() if acted is wanted}) for wanted in (True, False))
    return Backtest(
        events=events,
        unread=unread,
        first=_time(first) if events else None,
        last=_time(last) if events else None,
        rules=tuple(_tried(rule, sums[rule.id], *words) for rule in rules.rules if rule.mode != "off"),
    )


class _Sum:
    def __init__(self) -> None:
        self.events: Counter[int] = Counter()
        self.accounts: dict[int, list[Hashes]] = {}
        self.cases: dict[int, list[Hashes]] = {}
        self.subjects: list[Hashes] = []
        self.numbers = [0, 0, 0]
        self.beside: Counter[str] = Counter()
        self.samples: list[tuple[int, Sample]] = []


def _tried(rule: Rule, total: _Sum, acted: Hashes, cleared: Hashes) -> Tried:
    accounts = {day: _union(found) for day, found in total.accounts.items()}
    cases = {day: _union(found) for day, found in total.cases.items()}
    subjects = _union(total.subjects)
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
        beside=dict(sorted(total.beside.items(), key=lambda one: (-one[1], one[0]))),
        days=tuple(
            Day((_EPOCH + timedelta(days=day)).isoformat(), number, len(accounts.get(day, ())), len(cases.get(day, ())))
            for day, number in sorted(total.events.items())
        ),
        samples=tuple(sample for _, sample in total.samples),
        lacks=_lacks(rule),
        subjects=len(subjects),
        precision=Precision(
            len(np.intersect1d(subjects, acted, assume_unique=True)),
            len(np.intersect1d(subjects, cleared, assume_unique=True)),
        ),
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
