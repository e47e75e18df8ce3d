"""The past, asked in the words of the rules: which events met a condition, when, of whom, and how often.

The files are gone through from the newest day back, many at a time. SQL answers what it can say of the condition; the
compiled rule looks at the rows that are left. A search that takes too long stops between two stretches of days and says
how far back it came: what it found until then is whole. Nothing here knows the store, so it can run in a process of its
own.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import pyarrow as pa

from redshank.archive.past import LAYOUT, PastEvent, layout_of, table_of
from redshank.core import BankTexts, Event, Finding
from redshank.core.events import FUTURE_TOLERANCE
from redshank.matching import ASKED, holder
from redshank.rules.checker import Scope, asks_for_passing, check_expression
from redshank.rules.compile import compile_value
from redshank.rules.diagnostics import Diagnostic
from redshank.rules.outcome import applies_to
from redshank.rules.pushdown import LookUp, Pushed, push_down
from redshank.rules.ruleset import Facts, Holds, TextsOf
from redshank.rules.schema import BY_CLASS, EVENT_TYPES, PASSING, Type
from redshank.rules.source import Diagnostics, Source
from redshank.rules.tree import Attribute, Counting, Node, banks_of, walk

if TYPE_CHECKING:
    import duckdb

By = Literal["type", "network", "account", "domain", "link", "hashtag", "mention", "language", "rule", "shadow", "bank"]
"""What values can be counted by. `rule` and `shadow` are rules that fired then, live and in the shadow."""
STEP = 900
"""Seconds of one count over time: every zone's hours and days begin at a multiple of them."""
FIRST_FILES, MOST_FILES = 8, 128
"""Files that are read together: few at first, so that a search that is cut short has the newest days."""
TRIES = 5
HOLDS = 100_000
"""Texts for which it is remembered whether a bank holds them."""
_NONE: frozenset[str] = frozenset()
_COLUMNS = ("network", "id", "type", "at", "received_at", "account", "rules", "shadow", "body", "verdict")
_JSON = "json_extract_string(body, '$.post.{}[*]')"
_SCALARS = {
    "type": "type",
    "network": "network",
    "account": "CASE WHEN account <> '' THEN network || '/' || account END",
}
_LISTS = {
    "rule": "rules",
    "shadow": "shadow",
    "bank": "banks",
    "hashtag": f"list_distinct({_JSON.format('hashtags')})",
    "mention": f"list_distinct({_JSON.format('mentions')})",
}
_OF_LAYOUT: dict[int, tuple[dict[str, str], dict[str, str]]] = {
    1: (
        {"language": "json_extract_string(body, '$.post.language')"},
        {
            "link": f"list_distinct({_JSON.format('links')})",
            "domain": f"list_distinct(list_transform({_JSON.format('links')}, lambda link: "
            r"nullif(regexp_extract(lower(link), '^[a-z]+://(?:www\.)?([^/:?#]+)', 1), '')))",
        },
    ),
    2: ({"language": "language"}, {"link": "list_distinct(links)", "domain": "list_distinct(domains)"}),
}
assert {*_SCALARS, *_LISTS, *_OF_LAYOUT[2][0], *_OF_LAYOUT[2][1]} == set(get_args(By))


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page of results begins: after this event. `at` in microseconds from 1970."""

    at: int
    network: str
    id: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. `when` is a condition's canonical spelling, its names written out; empty for every event. `lists` and
    `banks` are those that it asks, by name.

    `since` and `until` bound the event's own time, `until` excluded; `networks` empty means all; on events of the past
    the rule `rule` fired, live or in the shadow; `account` is an id. Counts over time are made where `times`, of values
    where `by` is not empty; `rows` events are given, newest first, from after the place `after`.
    """

    when: str = ""
    fields: Mapping[str, Type] = {}
    lists: Mapping[str, frozenset[str]] = {}
    banks: Mapping[str, BankTexts] = {}
    since: datetime | None = None
    until: datetime | None = None
    networks: tuple[str, ...] = ()
    rule: str = ""
    account: str = ""
    times: bool = False
    by: By | Literal[""] = ""
    top: int = 20
    rows: int = 0
    after: Place | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one search may take: seconds of time, bytes of memory, threads (0: all); into which folder it may spill
    how many bytes where memory does not do (empty: none)."""

    seconds: float = 20
    memory: int = 1024**3
    spill: str = ""
    spill_bytes: int = 4 * 1024**3
    threads: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was found. `body` and `verdict` are JSON, `verdict` empty where nothing was seen."""

    network: str
    id: str
    type: str
    at: datetime
    received_at: datetime
    account: str
    rules: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    body: str
    verdict: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found.

    `events` is how many, `times` counts them by the step of `STEP` seconds from 1970, `top` by value, the most first.
    `more` says that there are rows after the last one. `stopped` is `time` or `memory` where it did not look at
    everything; then all that was received on `reached` (UTC) and later was looked at, or nothing yet where that is None.
    """

    events: int = 0
    times: tuple[tuple[int, int], ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    values: int = 0
    rows: tuple[Row, ...] = ()
    more: bool = False
    stopped: Literal["", "time", "memory"] = ""
    reached: date | None = None
    seconds: float = 0


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def refuse(node: Node) -> tuple[str, str] | None:
    """What the past cannot answer, and what to ask instead."""
    if isinstance(node, Counting):
        return "the past does not know what a counter said then", "Leave it out; count the results by account instead."
    if node.key == "account.labels":
        return "the past does not hold our labels of then", "Ask for what led to them."
    if node.key == "ties" or (isinstance(node, Attribute) and node.base.type.record == "tie"):
        return "the past does not hold ties to suspended accounts", "They stand on the account's page."
    return None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that was checked: `question` asks for it, or is None where it has errors.

    `diagnostics` are errors and warnings, `types` the types of event that it is asked of, `lacks` what the past does not
    hold of what it looks at.
    """

    question: Question | None
    diagnostics: tuple[Diagnostic, ...] = ()
    types: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def check(text: str, scope: Scope, *, name: str = "search", texts_of: TextsOf = lambda _: {}) -> Checked:
    """Check a condition as a rule's `when` is checked; an empty one means every event. `scope` should `refuse`.

    `texts_of` gives what the banks of some names hold, as far as there are such banks.
    """
    if not text.strip():
        return Checked(question=Question(), types=tuple(EVENT_TYPES))
    diagnostics = Diagnostics()
    source = Source(name, text, diagnostics)
    tree = check_expression(text, scope, source.error, source.warn)
    if tree is None:
        return Checked(question=None, diagnostics=tuple(diagnostics))
    tags = _tags(tree)
    if not tags:
        source.warn("no event can meet all of this", 0, len(text))
    nodes = list(walk(tree))
    lacks = ("sha256", "md5", "pdq")
    hashes = any(
        (isinstance(node, Attribute) and node.name in lacks) or node.key.startswith("hashes(") for node in nodes
    )
    banks = texts_of(asked) if (asked := banks_of(tree)) else {}
    used = {name: items for name, items in scope.lists.items() if f'list("{name}")' in tree.key}
    return Checked(
        question=Question(when=tree.key, fields=dict(scope.fields), lists=used, banks=banks),
        diagnostics=tuple(diagnostics),
        types=tags,
        lacks=("hashes of media that the platform did not send",) if hashes else (),
    )


def _tags(tree: Node) -> tuple[str, ...]:
    return applies_to(tree, all_types=asks_for_passing(tree), passing=PASSING)


def _tree(question: Question) -> Node | None:
    if not question.when:
        return None
    wrong: list[str] = []
    scope = Scope(lambda _: None, {}, question.lists, question.fields, refuse)
    tree = check_expression(question.when, scope, lambda message, *_: wrong.append(message), lambda *_: None)
    if tree is None:
        raise ValueError(wrong[0])
    return tree


# ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Part(msgspec.Struct, frozen=True):
    """A stretch of the past that is read together: files of one layout, or the events that are in no file yet."""

    files: tuple[Path, ...]
    layout: int
    first: date
    """All that was received on this day and later is in this part or those before it."""
    last: date


class _Changed(Exception):
    """Files were changed while they were looked at."""


class _Stop(Exception):
    def __init__(self, why: Literal["time", "memory"]) -> None:
        self.why = why


class _Tally:
    """What one part gave."""

    def __init__(self) -> None:
        self.events = 0
        self.times: Counter[int] = Counter()
        self.keys: list[tuple[int, str, str, str, int]] = []
        self.rows: list[tuple[int, str, str, Row]] = []


def search(files: Sequence[Path], fresh: Iterable[PastEvent], question: Question, limits: Limits) -> Found:
    """Answer `question` from `files` of the past and the `fresh` events that are in none of them."""
    began = time.monotonic()
    with _Look(files, fresh, question, limits) as look:
        found = look.answer()
    return msgspec.structs.replace(found, seconds=time.monotonic() - began)


def every_row(
    files: Sequence[Path], fresh: Iterable[PastEvent], question: Question, limits: Limits
) -> Generator[Row, None, str]:
    """All events that meet `question`, from those received last back, each stretch of days by the events' own time.

    What it returns at its end is why it stopped, as `Found.stopped` says it.
    """
    with _Look(files, fresh, question, limits) as look:
        return (yield from look.every_row())


class _Look:
    def __init__(self, files: Sequence[Path], fresh: Iterable[PastEvent], question: Question, limits: Limits) -> None:
        import duckdb

        self._errors = duckdb
        self._question = question
        config: dict[str, Any] = {"memory_limit": f"{limits.memory}B", "enable_external_access": True}
        if limits.spill:
            config |= {"temp_directory": limits.spill, "max_temp_directory_size": f"{limits.spill_bytes}B"}
        if limits.threads:
            config["threads"] = limits.threads
        self._database: duckdb.DuckDBPyConnection = duckdb.connect(":memory:", config=config)
        self._database.execute("CREATE TABLE tops (value VARCHAR, events BIGINT)")
        self._deadline = time.monotonic() + limits.seconds
        self._earliest = -(2**63)
        """What happened before this has no place on the page: it is full."""
        self._over = False
        self._timer = threading.Timer(limits.seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        tree = _tree(question)
        self._holds = lru_cache(HOLDS)(holder(question.banks))
        self._judge = _Judge(tree, self._holds) if tree is not None else None
        tags = _tags(tree) if tree is not None else ()
        askable = sorted(name for name, bank in question.banks.items() if bank.kind in ASKED)
        self._pushed: dict[int, Pushed] = {
            layout: push_down(tree, tags, layout, askable)
            if tree is not None
            else Pushed(where="true", exact=True, lists={})
            for layout in (1, 2)
        }
        for pushed in self._pushed.values():
            for name, items in pushed.lists.items():
                self._database.register(name, pa.table({"item": pa.array(list(items), pa.string())}))
        events = [event for event in fresh if not question.networks or event.network in question.networks]
        table = table_of(events)
        table = table.append_column("filename", pa.array([""] * len(table), pa.string()))
        table = table.append_column("file_row_number", pa.array(range(len(table)), pa.int64()))
        self._database.register("fresh", table)
        self._parts = [*_fresh_part(events), *_parts(files, question)]

    def __enter__(self) -> _Look:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._database.close()

    def _end(self) -> None:
        self._over = True
        self._database.interrupt()

    # ── The whole answer ───────────────────────────────────────────────────────────────────────────────────────────

    def answer(self) -> Found:
        question = self._question
        events, times = 0, Counter[int]()
        keys: list[tuple[int, str, str, str, int]] = []
        rows: list[tuple[int, str, str, Row]] = []
        stopped: Literal["", "time", "memory"] = ""
        reached: date | None = None
        counting = question.times or question.by
        for part in self._parts:
            if not counting and self._has_enough(keys, rows, part):
                break
            try:
                tally = self._retried(part, self._look_at)
            except _Stop as stop:
                stopped = stop.why
                break
            events += tally.events
            times.update(tally.times)
            keys = heapq.nsmallest(question.rows + 1, [*keys, *tally.keys], key=_order)
            rows = heapq.nsmallest(question.rows + 1, [*rows, *tally.rows], key=_order)
            if len(best := heapq.nsmallest(question.rows + 1, [*keys, *rows], key=_order)) > question.rows:
                self._earliest = -_order(best[-1])[0]
            reached = part.first if part.files else None
        self._over = False  # What was found is put together, however late it is.
        self._timer.cancel()
        ordered = heapq.nsmallest(question.rows + 1, [*keys, *rows], key=_order)
        shown = self._rows_of(ordered[: question.rows])
        top: tuple[tuple[str, int], ...] = ()
        values = 0
        if question.by:
            top = tuple(
                self._database.execute(
                    "SELECT value, sum(events)::BIGINT FROM tops GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?", [question.top]
                ).fetchall()
            )
            values = self._number("SELECT count(DISTINCT value) FROM tops")
        return Found(
            events=events,
            times=tuple(sorted((step * STEP, number) for step, number in times.items())),
            top=top,
            values=values,
            rows=tuple(shown),
            more=len(ordered) > question.rows > 0,
            stopped=stopped,
            reached=reached if stopped else None,
        )

    def _has_enough(self, keys: Sequence[Any], rows: Sequence[Any], part: _Part) -> bool:
        """Whether no event of this part or of one after it can stand among the rows: each happened before."""
        ordered = sorted((*keys, *rows), key=_order)[: self._question.rows + 1]
        if len(ordered) <= self._question.rows:
            return False
        latest = datetime.combine(part.last + timedelta(days=1), datetime.min.time(), UTC) + FUTURE_TOLERANCE
        return bool(ordered[-1][0] > _micros(latest))

    def _number(self, query: str) -> int:
        found = self._database.execute(query).fetchone()
        return int(found[0]) if found else 0

    def _retried(self, part: _Part, look: Callable[[_Part], _Tally]) -> _Tally:
        """What a part gives, all of it from the same files: where some went or were written anew while it was looked at, as
        retention and erasures do, it is looked at again."""
        for tries in range(1, TRIES + 1):
            if self._over or time.monotonic() > self._deadline:
                raise _Stop("time")
            if (left := _left(part)) is None:
                return _Tally()
            part, before = left
            try:
                with self._kept_if(lambda: tries == TRIES or _stamps(part) == before):  # noqa: B023 - asked at once
                    return look(part)
            except self._errors.InterruptException:
                raise _Stop("time") from None
            except (self._errors.OutOfMemoryException, MemoryError):
                raise _Stop("memory") from None
            except (_Changed, self._errors.Error):
                if tries == TRIES or _stamps(part) == before:
                    raise
        raise AssertionError

    @contextmanager
    def _kept_if(self, is_good: Callable[[], bool]) -> Iterator[None]:
        """Keeps what was counted meanwhile; forgets it after an error, or raises `_Changed` where it is not good."""
        self._database.begin()
        try:
            yield
        except BaseException:
            with suppress(self._errors.Error):  # Some errors end the transaction themselves.
                self._database.rollback()
            raise
        if not is_good():
            self._database.rollback()
            raise _Changed
        self._database.commit()

    def _look_at(self, part: _Part) -> _Tally:
        return self._ask(part) if self._pushed[part.layout].exact else self._judged(part)

    def _from(self, part: _Part) -> str:
        """The part's rows that SQL leaves, as a FROM with its WHERE; what banks hold of its texts is looked up first."""
        question, pushed = self._question, self._pushed[part.layout]
        source = "fresh"
        if part.files:
            names = ", ".join(map(_text, map(str, part.files)))
            source = f"read_parquet([{names}], hive_partitioning=false, filename=true, file_row_number=true)"
        wheres: list[str] = []
        if question.since is not None:
            wheres.append(f"\"at\" >= TIMESTAMP '{_naive(question.since)}'")
        if question.until is not None:
            wheres.append(f"\"at\" < TIMESTAMP '{_naive(question.until)}'")
        if question.rule:
            name = _text(question.rule)
            wheres.append(f"(list_contains(rules, {name}) OR list_contains(shadow, {name}))")
        if question.account:
            wheres.append(f"account = {_text(question.account)}")
        for asked in pushed.lookups:
            look_up(self._database, asked, f"{source} WHERE {' AND '.join((*wheres, pushed.before))}", self._is_held)
        return f"FROM {source} WHERE {' AND '.join((*wheres, pushed.where))}"

    def _is_held(self, bank: str, text: str) -> bool | None:
        if self._over:
            raise _Stop("time")
        return self._holds(bank, text)

    def _value(self, layout: int) -> tuple[str, bool]:
        """What is counted by, as SQL, and whether it is a list."""
        scalars, lists = _OF_LAYOUT[layout]
        by = self._question.by
        if by in _SCALARS or by in scalars:
            return {**_SCALARS, **scalars}[by], False
        return {**_LISTS, **lists}[by], True

    def _ask(self, part: _Part) -> _Tally:
        """A part that SQL answers alone. Where a condition must be looked at, that is done once, and what meets it written
        down as its place; ids, which are long and all different, are read for the few rows that are shown."""
        question, tally, database = self._question, _Tally(), self._database
        source, at, place = self._from(part), 'epoch_us("at")', "filename, file_row_number"
        value, is_list = self._value(part.layout) if question.by else ("NULL", False)
        asked = bool(question.times) + bool(question.by) + bool(question.rows)
        if self._judge is not None and (asked > 1 or question.rows):
            written = f"{at} AS at_us, {place}, {value} AS value"
            database.execute(f"CREATE OR REPLACE TEMP TABLE hits AS SELECT {written} {source}")
            source, at, value = "FROM hits WHERE true", "at_us", "value"
        if question.times:
            steps = database.execute(f"SELECT {at} // {STEP * 1_000_000}, count(*) {source} GROUP BY 1")
            tally.times.update(dict(steps.fetchall()))
            tally.events = tally.times.total()
            if not tally.events:
                return tally
        if question.rows:
            tally.keys = self._keys(f"(SELECT {at} AS at_us, {place} {source})")
        if question.by:
            each = f"unnest({value})" if is_list else value
            keys, shown = ("network, account", value) if value == _SCALARS["account"] else (f"{each} AS value", "value")
            database.execute(  # What is grouped by is put together once a value, not once an event.
                f"INSERT INTO tops SELECT {shown} AS named, events FROM "  # noqa: S608
                f"(SELECT *, count(*) AS events FROM (SELECT {keys} {source}) GROUP BY ALL) WHERE named IS NOT NULL"
            )
        return tally

    def _keys(self, places: str) -> list[tuple[int, str, str, str, int]]:
        """The first of `places` after the page's beginning, in order: those of the latest times, told apart by their ids."""
        question, after = self._question, self._question.after
        before = "true" if after is None else f"at_us < {after.at}"
        bound = self._database.execute(
            f"SELECT min(at_us) FROM (SELECT at_us FROM {places} WHERE {before} ORDER BY 1 DESC LIMIT {question.rows + 1})"  # noqa: S608
        ).fetchone()
        least = bound[0] if bound and bound[0] is not None else after.at if after else self._earliest
        least = max(least, self._earliest)
        most = "true" if after is None else f"at_us <= {after.at}"
        found = self._database.execute(f"SELECT * FROM {places} WHERE at_us >= {least} AND {most}").fetchall()  # noqa: S608
        named = self._read({(file, number) for _, file, number in found}, ("network", "id"))
        keys = [
            (at, row["network"], row["id"], file, number)
            for at, file, number in found
            if (row := named.get((file, number))) and _is_after(after, at, row["network"], row["id"])
        ]
        return heapq.nsmallest(question.rows + 1, keys, key=_order)

    def _read(self, places: Iterable[tuple[str, int]], columns: Sequence[str]) -> dict[tuple[str, int], dict[str, Any]]:
        """Some columns of single rows, by file and number, where their file is still there."""
        wanted: dict[str, list[int]] = {}
        for file, number in places:
            wanted.setdefault(file, []).append(number)
        found: dict[tuple[str, int], dict[str, Any]] = {}
        names = ", ".join(map(_quoted, columns))
        for file, numbers in wanted.items():
            source = f"read_parquet({_text(file)}, hive_partitioning=false, file_row_number=true)" if file else "fresh"
            try:
                rows = self._database.execute(
                    f"SELECT file_row_number, {names} FROM {source} "  # noqa: S608
                    f"WHERE file_row_number IN ({', '.join(map(str, numbers))})"
                ).to_arrow_table()
            except self._errors.IOException:
                continue
            found |= {(file, row.pop("file_row_number")): row for row in rows.to_pylist()}
        return found

    def _judged(self, part: _Part) -> _Tally:
        """A part whose rows, those that SQL leaves, the compiled condition must look at."""
        question, tally = self._question, _Tally()
        by = Counter[str]()
        for at, row, values in self._matches(part):
            tally.events += 1
            tally.times[at // (STEP * 1_000_000)] += 1
            by.update(values)
            if question.rows and _is_after(question.after, at, row.network, row.id):
                tally.rows.append((at, row.network, row.id, row))
                if len(tally.rows) > 4 * question.rows + 100:
                    tally.rows = heapq.nsmallest(question.rows + 1, tally.rows, key=_order)
        if by:
            self._database.register("part", pa.table({"v": list(by), "n": pa.array(list(by.values()), pa.int64())}))
            self._database.execute("INSERT INTO tops SELECT v, n FROM part")
        return tally

    def _matches(self, part: _Part, order: str = "") -> Iterator[tuple[int, Row, list[str]]]:
        value, is_list = self._value(part.layout) if self._question.by else ("[]::VARCHAR[]", True)
        values = value if is_list else f"[{value}]"
        query = f'SELECT epoch_us("at") AS at_us, {", ".join(map(_quoted, _COLUMNS))}, {values} AS vals {self._from(part)}{order}'
        judge = None if self._pushed[part.layout].exact else self._judge
        batches = self._database.execute(query).to_arrow_reader(4_000)
        while not self._over:
            try:
                batch = batches.read_next_batch()
            except StopIteration:
                return
            for found in batch.to_pylist():
                at, vals = found.pop("at_us"), found.pop("vals")
                row = _row(found)
                if judge is None or judge(row):
                    yield at, row, [one for one in vals or () if one is not None]
        raise _Stop("time")

    def _rows_of(self, ordered: Sequence[tuple[Any, ...]]) -> list[Row]:
        """The rows themselves; one that is no longer there is left out."""
        found = self._read([entry[3:] for entry in ordered if len(entry) == 5], _COLUMNS)
        moved = [entry for entry in ordered if len(entry) == 5 and not _is_at(found, entry)]
        found |= self._found_again(moved)
        out = []
        for entry in ordered:
            row = entry[3] if len(entry) == 4 else _row(one) if (one := found.get(entry[3:])) else None
            if row is not None and (row.network, row.id) == (entry[1], entry[2]):
                out.append(row)
        return out

    def _found_again(self, moved: Sequence[tuple[Any, ...]]) -> dict[tuple[str, int], dict[str, Any]]:
        """Rows of files that were written anew since, by where they stood."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        columns = ", ".join(map(_quoted, _COLUMNS))
        for _, network, id_, file, number in moved:
            query = f"SELECT {columns} FROM read_parquet({_text(file)}, hive_partitioning=false) WHERE network = ? AND id = ?"  # noqa: S608
            with suppress(self._errors.IOException):
                for row in self._database.execute(query, [network, id_]).to_arrow_table().to_pylist():
                    found[file, number] = row
        return found

    # ── Every row ──────────────────────────────────────────────────────────────────────────────────────────────────

    def every_row(self) -> Generator[Row, None, str]:
        for whole in self._parts:
            for tries in range(1, TRIES + 1):
                if (left := _left(whole)) is None:
                    break
                part, before = left
                try:
                    # All files are read before the first row comes, as rows come in order: none can come twice.
                    for _, row, _ in self._matches(part, ' ORDER BY "at" DESC, network, id'):
                        yield row
                    break
                except (_Stop, self._errors.InterruptException):
                    return "time"
                except (self._errors.OutOfMemoryException, MemoryError):
                    return "memory"
                except self._errors.Error:
                    if tries == TRIES or _stamps(part) == before:
                        raise
        return ""


class _Seen(msgspec.Struct):
    findings: tuple[Finding, ...] = ()


class _Judge:
    """The compiled condition over rows."""

    def __init__(self, tree: Node, holds: Holds) -> None:
        self._tree = tree
        self._holds = holds
        self._event = msgspec.json.Decoder(Event).decode
        self._seen = msgspec.json.Decoder(_Seen).decode
        self._values: dict[type, Callable[..., Any]] = {}

    def __call__(self, row: Row) -> bool:
        try:
            event = self._event(row.body)
            seen = self._seen(row.verdict).findings if row.verdict else ()
        except msgspec.MsgspecError:  # Of another version of the schema.
            return False
        value = self._values.get(type(event))
        if value is None:
            value = self._values[type(event)] = compile_value(BY_CLASS[type(event)].tag, self._tree)
        findings = tuple(finding for finding in seen if not (finding.match and finding.match.withheld))
        return value(Facts(event, findings, row.received_at, _NONE, holds=self._holds)) is True


def look_up(database: duckdb.DuckDBPyConnection, asked: LookUp, source: str, holds: Holds) -> None:
    """Make the enumeration that `asked` needs, of the texts in `source`, a FROM with its WHERE: each is looked up once."""
    texts = database.execute(f"SELECT DISTINCT unnest({asked.texts}) AS text FROM {source}").to_arrow_reader(4_000)  # noqa: S608
    held = [
        text for batch in texts for text in batch.column(0).to_pylist() if text is not None and holds(asked.bank, text)
    ]
    database.register("held", pa.table({"text": pa.array(held, pa.string())}))
    database.execute(f"CREATE OR REPLACE TYPE {asked.held} AS ENUM (SELECT text FROM held)")  # noqa: S608 - a name of ours


_Stamps = tuple[tuple[int, int, int] | None, ...]


def _stamps(part: _Part) -> _Stamps:
    """What tells the files of a part from any that come to stand in their places; None for one that is gone."""
    return tuple(_stamp(file) for file in part.files)


def _left(part: _Part) -> tuple[_Part, _Stamps] | None:
    """A part without its files that are gone, with the stamps of the others; None where all are gone."""
    left = msgspec.structs.replace(part, files=tuple(file for file in part.files if file.exists()))
    return None if part.files and not left.files else (left, _stamps(left))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_at(found: Mapping[tuple[str, int], dict[str, Any]], entry: tuple[Any, ...]) -> bool:
    row = found.get(entry[3:])
    return row is not None and (row["network"], row["id"]) == entry[1:3]


def _fresh_part(events: Sequence[PastEvent]) -> list[_Part]:
    if not events:
        return []
    days = [event.received_at.astimezone(UTC).date() for event in events]
    return [_Part((), LAYOUT, date.max, max(days))]


def _parts(files: Sequence[Path], question: Question) -> Iterator[_Part]:
    """The files in stretches, from the newest day back; a stretch has whole days of one layout."""
    days: dict[date, list[Path]] = {}
    for file in files:
        if question.networks and file.parent.parent.name.removeprefix("network=") not in question.networks:
            continue
        days.setdefault(date.fromisoformat(file.parent.name.removeprefix("day=")), []).append(file)
    size, taken, last = FIRST_FILES, list[Path](), None
    ordered = sorted(days, reverse=True)
    for at, day in enumerate(ordered):
        taken += days[day]
        last = last or day
        if len(taken) >= size or at == len(ordered) - 1:
            layouts = sorted({layout_of(file) for file in taken}, reverse=True)
            for number, layout in enumerate(layouts):
                # The stretch is looked at when its last layout is.
                first = day if number == len(layouts) - 1 else last + timedelta(days=1)
                yield _Part(tuple(sorted(file for file in taken if layout_of(file) == layout)), layout, first, last)
            size, taken, last = min(4 * size, MOST_FILES), [], None


def _row(found: dict[str, Any]) -> Row:
    return Row(
        network=found["network"], id=found["id"], type=found["type"], at=found["at"].replace(tzinfo=UTC),
        received_at=found["received_at"].replace(tzinfo=UTC), account=found["account"], rules=tuple(found["rules"]),
        shadow=tuple(found["shadow"]), body=found["body"], verdict=found["verdict"],
    )  # fmt: skip


def _is_after(after: Place | None, at: int, network: str, id_: str) -> bool:
    return after is None or (-at, network, id_) > (-after.at, after.network, after.id)


def _order(entry: tuple[Any, ...]) -> tuple[int, str, str]:
    return -entry[0], entry[1], entry[2]


def _quoted(name: str) -> str:
    return f'"{name}"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _naive(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def _micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
