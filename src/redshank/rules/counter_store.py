"""Where counters are kept: one row a key, in the store, written in the walk's own transaction.

A batch reads what it needs at once, counts in memory, and writes once; until it commits, its rows are its own, so that
processes that meet on a key count one after the other. Where the counters' table does not answer, counts are missing, an
alarm is given, and all else goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import structlog
from django.db import DatabaseError, connection, transaction

from redshank import counters as metrics
from redshank.archive.models import Erasure
from redshank.rules.counting import LATE, Ask, Counter, Ledger, Series, moment, number_of
from redshank.rules.models import CounterErasure, CounterName, CounterSeries

log = structlog.get_logger(__name__)

ROWS = 2_000
"""Rows of one statement."""
SECONDS = 10
"""So long the table may take to answer one statement, on PostgreSQL; SQLite's writer waits for nobody by then."""
SWEEP_ROWS = 5_000
_SECOND = 1_000_000
_TABLE = CounterSeries._meta.db_table  # noqa: SLF001
_named: set[int] = set()


class Book:
    """The counters of one batch of events, in the caller's transaction: opened with all that it asks, saved at its end."""

    def __init__(self, asks: Iterable[Sequence[Ask]], *, again: bool = False) -> None:
        self._again = again
        self._ledger: Ledger | None = None
        wanted: dict[int, Counter] = {}
        hit: set[int] = set()
        for one in asks:
            for counter, numbers, hits, _ in one:
                for number in numbers:
                    wanted[number] = counter
                if hits and not again:
                    hit.update(numbers)
        try:
            with _guarded():
                self._ledger = Ledger(_read(wanted, hit))
        except DatabaseError as error:
            _alarm("read", error)

    def count(self, asks: Sequence[Ask], at: datetime) -> Mapping[int, int] | None:
        """Count one event, and give what its counters say; None where nobody knows."""
        return None if self._ledger is None else self._ledger.count(asks, moment(at), again=self._again)

    def save(self) -> None:
        """Write what was counted."""
        if self._ledger is None or not self._ledger.changed:
            return
        try:
            with _guarded():
                _name(self._ledger.changed.values())
                _write(self._ledger)
        except DatabaseError as error:
            _alarm("write", error)


def _alarm(what: str, error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0]
    log.error("counters.failed", what=what, reason=reason, todo="Rules that count are unsure until it answers again.")
    metrics.count_counters_failed(what)


@contextmanager
def _guarded() -> Iterator[None]:
    """What goes wrong within takes nothing else of the transaction with it."""
    with transaction.atomic():
        if connection.vendor != "postgresql":
            yield
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS}s"])
            yield
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


def _read(wanted: Mapping[int, Counter], hit: Collection[int]) -> dict[int, Series]:
    """The series of these numbers that are there. Those that will be added to are the transaction's own from here on."""
    rows: list[tuple[int, bytes]] = []
    numbers = sorted(wanted)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":  # Whoever writes has the store to themselves already.
            for start in range(0, len(numbers), ROWS):
                cursor.execute(
                    f"SELECT id, entries FROM {_TABLE} WHERE id IN (SELECT value FROM json_each(%s))",  # noqa: S608
                    [str(numbers[start : start + ROWS])],
                )
                rows += cursor.fetchall()
        else:
            # In the order of their numbers, new ones as well, so that nobody waits in a ring.
            locked = [number for number in numbers if number in hit]
            for start in range(0, len(locked), ROWS):
                part = locked[start : start + ROWS]
                cursor.execute(
                    f"INSERT INTO {_TABLE} (id, counter, until, entries) "  # noqa: S608
                    "SELECT one.id, one.counter, 0, '' FROM unnest(%s::bigint[], %s::bigint[]) AS one (id, counter) "
                    f"ON CONFLICT (id) DO UPDATE SET until = {_TABLE}.until RETURNING id, entries",
                    [part, [wanted[number].id for number in part]],
                )
                rows += cursor.fetchall()
            others = [number for number in numbers if number not in hit]
            for start in range(0, len(others), ROWS):
                cursor.execute(
                    f"SELECT id, entries FROM {_TABLE} WHERE id = ANY(%s)",  # noqa: S608
                    [others[start : start + ROWS]],
                )
                rows += cursor.fetchall()
    return {number: Series(bytes(packed), distinct=wanted[number].distinct) for number, packed in rows}


def _write(ledger: Ledger) -> None:
    rows = []
    for number, counter in sorted(ledger.changed.items()):
        series = ledger.series[number]
        packed = series.packed(counter.window)
        rows.append((number, counter.id, _until(series, counter.window), packed))
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executemany(
                f"INSERT INTO {_TABLE} (id, counter, until, entries) VALUES (%s, %s, %s, %s) "  # noqa: S608
                "ON CONFLICT (id) DO UPDATE SET until = excluded.until, entries = excluded.entries",
                rows,
            )
            return
        for start in range(0, len(rows), ROWS):
            numbers, _, untils, packs = zip(*rows[start : start + ROWS], strict=True)
            cursor.execute(
                f"UPDATE {_TABLE} SET until = one.until, entries = one.entries "  # noqa: S608
                "FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS one (id, until, entries) "
                f"WHERE {_TABLE}.id = one.id",
                [list(numbers), list(untils), list(packs)],
            )


def _until(series: Series, window: int) -> int:
    """The second after which a series is of no use to anybody."""
    return (series.times[-1] + window + LATE) // _SECOND + 1


def _name(counters: Iterable[Counter]) -> None:
    """Keep the names of counters, by which rows can be found that are about somebody."""
    new = {counter.id: counter for counter in counters if counter.id not in _named}
    if not new:
        return
    rows = [CounterName(id=one.id, text=one.text, window=one.window, distinct=one.distinct) for one in new.values()]
    CounterName.objects.bulk_create(rows, ignore_conflicts=True)
    transaction.on_commit(lambda: _named.update(new))


def sweep(*, now: datetime) -> int:
    """Delete the series that are over, in small transactions; give how many went."""
    gone, after, second = 0, -(2**63), moment(now) // _SECOND
    while True:
        part = CounterSeries.objects.filter(pk__gt=after).order_by("pk").values_list("pk", "until")[:SWEEP_ROWS]
        rows = list(part)
        if not rows:
            return gone
        after = rows[-1][0]
        if any(until < second for _, until in rows):
            gone += CounterSeries.objects.filter(pk__gte=rows[0][0], pk__lte=after, until__lt=second).delete()[0]


def erase(network: str, account_id: str) -> int:
    """Delete what is counted under an account's id, and take it out of the values of other keys; give how many rows changed.

    Times that its events left under other keys, such as a link's, name nobody, and are over within eight days.
    """
    number = number_of(network, account_id)
    names = {one.pk: one for one in CounterName.objects.all()}
    with transaction.atomic():
        changed: int = CounterSeries.objects.filter(pk__in=[number ^ pk for pk in names]).delete()[0]
        needle = number.to_bytes(8, "little", signed=True)
        place = "instr(entries, %s)" if connection.vendor == "sqlite" else "position(%s::bytea in entries)"
        holding = CounterSeries.objects.select_for_update().filter(
            counter__in=[pk for pk, one in names.items() if one.distinct]
        )
        for row in holding.extra(where=[f"{place} > 0"], params=[needle]).order_by("pk"):  # noqa: S610 - constant
            series, window = Series(bytes(row.entries), distinct=True), names[row.counter].window
            if series.forget(number):
                changed += 1
                if series.times:
                    CounterSeries.objects.filter(pk=row.pk).update(
                        entries=series.packed(window), until=_until(series, window)
                    )
                else:
                    row.delete()
    return changed


def erase_asked() -> int:
    """Erase here, too, the accounts that the archive was asked to erase; give how many."""
    asked = list(Erasure.objects.exclude(pk__in=CounterErasure.objects.values("pk")).order_by("pk")[:200])
    for one in asked:
        with transaction.atomic():
            erase(one.network, one.account_id)
            CounterErasure.objects.get_or_create(pk=one.pk)
    return len(asked)


def probe(now: datetime) -> None:
    """Write a series and take it back. Raises `DatabaseError` where the counters' table does not answer."""
    with transaction.atomic(), _guarded():
        row = CounterSeries.objects.create(pk=-(2**63), counter=0, until=moment(now) // _SECOND, entries=b"")
        row.delete()
