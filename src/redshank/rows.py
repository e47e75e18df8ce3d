"""Puts very many rows into a table, and finds very many by a value, some twenty times as fast as the ORM does.

The one idea: what is the same in all rows is prepared once, no model is made for any, and all values that are put or looked
for travel as one parameter, so that one statement does it while other threads run; `Among` says the latter to the ORM.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import msgspec
from django.db import connection, transaction
from django.db.models import Lookup, Model

T = TypeVar("T")

GAP = 0.11
"""Seconds between two transactions on SQLite: who writes without a transaction looks every tenth of a second whether it is its turn."""
LONG = 0.25
"""Seconds that others wait for one transaction at most, or little more: on a slow or busy machine less is done in each."""
LEAST = 1000


class Turns:
    """Many transactions one after the other, between which others have their turn.

    `size` says how much the next is to do: little at first, then as much, up to `most`, as does not take long.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(4 * LEAST, most)
        self._ended = 0.0

    @contextmanager
    def next(self) -> Iterator[None]:
        """The next transaction."""
        if connection.vendor == "sqlite":
            time.sleep(max(0.0, self._ended + GAP - time.monotonic()))
        with transaction.atomic():
            began = time.monotonic()
            yield
        # Its end counts as well: others wait while what changed is written, which a busy disk makes long.
        self._ended = time.monotonic()
        if self._ended - began > LONG:
            self.size = min(max(self.size // 2, LEAST), self._most)
        elif self._ended - began < LONG / 2:
            self.size = min(self.size * 2, self._most)


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """`items`, so many at a time."""
    rest = iter(items)
    while part := tuple(islice(rest, size)):
        yield part


class Among(Lookup):
    """`filter(Among(F("column"), values))`: as `column__in=values`, of plain texts or numbers, however many."""

    def get_prep_lookup(self) -> list[Any]:
        """The values."""
        return list(self.rhs)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """One parameter for all of them."""
        column, given = self.process_lhs(compiler, connection)
        among, values = _among(self.rhs)
        return f"{column} {among}", (*given, values)


def _among(values: list[Any]) -> tuple[str, Any]:
    if connection.vendor == "postgresql":
        return "= ANY(%s)", values
    return "IN (SELECT value FROM json_each(%s))", msgspec.json.encode(values).decode()


def times() -> Callable[[datetime], Any]:
    """Makes of a time, of any zone, what the store keeps: what `pick` gives, and `put`, `add` and `change` take."""
    return _as_text if connection.vendor == "sqlite" else _as_it_is


def _as_text(at: datetime) -> str:
    text: str = msgspec.to_builtins(at.astimezone(UTC))
    return f"{text[:10]} {text[11:-1]}"


def _as_it_is(at: datetime) -> datetime:
    return at


def pick(
    model: type[Model],
    by: str,
    values: Iterable[str],
    names: Sequence[str],
    *,
    same: Mapping[str, Any],
    lock: bool = False,
) -> list[tuple[Any, ...]]:
    """The fields `names` of those rows of `model` that have one of `values`, texts, in the field `by`, and all that `same` says.

    In no order. Names are those of attributes; numbers, texts and whether something is null come as they are, times as the
    store keeps them. Fast where an index leads from `same` to `by`. With `lock` they are the caller's transaction's own from
    here on, taken in the order of `by`.
    """
    if not (wanted := list(values)):
        return []
    fields = _fields(model)
    quote = connection.ops.quote_name
    columns = {name: quote(str(fields[name].column)) for name in (*names, *same, by)}
    own = "".join(f"{columns[name]} = %s AND " for name in same)
    among, given = _among(wanted)
    locked = f" ORDER BY {columns[by]} FOR UPDATE" if lock and connection.vendor == "postgresql" else ""
    # SQLite's driver makes nothing of what is no plain column.
    plain = "" if connection.vendor == "postgresql" else "+"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(plain + columns[name] for name in names)} FROM {quote(model._meta.db_table)} "  # noqa: S608, SLF001
            f"WHERE {own}{columns[by]} {among}{locked}",
            [*(fields[name].get_db_prep_value(value, connection) for name, value in same.items()), given],
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def put(
    model: type[Model], rows: Sequence[tuple[Any, ...]], names: Sequence[str], *, same: Mapping[str, Any],
    unique: Sequence[str], over: Sequence[str],
) -> None:  # fmt: skip
    """Put `rows` into the table of `model`, in the caller's transaction; `names` say the fields of their values.

    Values are whole numbers, truths and texts as the stores keep them; `same` holds what all rows have in common, in any type
    that the model takes. No two rows are the same in `unique`; one that is there already is given the new values of `over`.
    All names are those of attributes: `entry_id`, not `entry`.
    """
    if not rows:
        return
    new = ", ".join(f"{_columns(model, [name])} = excluded.{_columns(model, [name])}" for name in over)
    tail = f"ON CONFLICT ({_columns(model, unique)}) DO UPDATE SET {new}" if over else ""
    if connection.vendor == "postgresql":
        _insert(model, rows, names, same, tail)
        return
    fields = _fields(model)
    into = f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({_columns(model, [*names, *same])})"  # noqa: SLF001
    given = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(names)))
    common = [fields[name].get_db_prep_save(value, connection) for name, value in same.items()]
    with connection.cursor() as cursor:
        cursor.execute(
            f"{into} SELECT {given}{', %s' * len(same)} FROM json_each(%s) WHERE true {tail}",  # noqa: S608
            [*common, msgspec.json.encode(rows).decode()],
        )


def add(
    model: type[Model], rows: Sequence[tuple[Any, ...]], names: Sequence[str], *, same: Mapping[str, Any] = {},
    unique: Sequence[str] = (), giving: Sequence[str] = (),
) -> list[tuple[Any, ...]]:  # fmt: skip
    """As `put`, but one that is there already, being the same in `unique`, stays as it is, and values may be bytes and times.

    Gives the fields `giving` of those that were not there, in no order; for that, the model's ids must be numbers that grow.
    On SQLite one row is put after the other, which for rows with much in them takes half as long as one statement for all.
    """
    tail = f"ON CONFLICT ({_columns(model, unique)}) DO NOTHING" if unique else ""
    if not giving or connection.vendor == "postgresql":
        return _insert(model, rows, names, same, f"{tail} RETURNING {_columns(model, giving)}" if giving else tail)
    # Nobody else writes meanwhile, and `executemany` returns nothing: what was added is what comes after.
    table, pk = connection.ops.quote_name(model._meta.db_table), _columns(model, ["id"])  # noqa: SLF001
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COALESCE(MAX({pk}), 0) FROM {table}")  # noqa: S608
        (last,) = cursor.fetchone()
        _insert(model, rows, names, same, tail)
        cursor.execute(f"SELECT {_columns(model, giving)} FROM {table} WHERE {pk} > %s", [last])  # noqa: S608
        added: list[tuple[Any, ...]] = cursor.fetchall()
    return added


def change(model: type[Model], rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
    """Give rows of `model` new values, in the caller's transaction: each of `rows` holds those of `names`, then the row's id."""
    if not rows:
        return
    table, pk = connection.ops.quote_name(model._meta.db_table), _columns(model, ["id"])  # noqa: SLF001
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            new = ", ".join(f"{_columns(model, [name])} = c{at}" for at, name in enumerate(names))
            cursor.execute(
                f"UPDATE {table} SET {new} FROM {_given(model, [*names, 'id'])} WHERE {table}.{pk} = c{len(names)}",  # noqa: S608
                [list(column) for column in zip(*rows, strict=True)],
            )
        else:
            new = ", ".join(f"{_columns(model, [name])} = %s" for name in names)
            cursor.executemany(f"UPDATE {table} SET {new} WHERE {pk} = %s", rows)  # noqa: S608


def _insert(
    model: type[Model], rows: Sequence[tuple[Any, ...]], names: Sequence[str], same: Mapping[str, Any], tail: str
) -> list[tuple[Any, ...]]:
    """Insert, and give what `tail` says is returned: on PostgreSQL, in one statement; elsewhere nothing is."""
    if not rows:
        return []
    fields = _fields(model)
    common = [fields[name].get_db_prep_save(value, connection) for name, value in same.items()]
    into = f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({_columns(model, [*names, *same])})"  # noqa: SLF001
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            marks = ", ".join(["%s"] * (len(names) + len(same)))
            cursor.executemany(f"{into} VALUES ({marks}) {tail}", [(*row, *common) for row in rows] if common else rows)
            return []
        also = "".join(f", %s::{_type(model, name)}" for name in same)
        aliases = ", ".join(f"c{at}" for at in range(len(names)))
        cursor.execute(
            f"{into} SELECT {aliases}{also} FROM {_given(model, names)} {tail}",  # noqa: S608
            [*common, *(list(column) for column in zip(*rows, strict=True))],
        )
        return cursor.fetchall() if cursor.description else []


def _given(model: type[Model], names: Sequence[str]) -> str:
    """Columns of values, as PostgreSQL takes them: one parameter each, called c0, c1, …"""
    arrays = ", ".join(f"%s::{_type(model, name)}[]" for name in names)
    return f"unnest({arrays}) AS given ({', '.join(f'c{at}' for at in range(len(names)))})"


def _fields(model: type[Model]) -> dict[str, Any]:
    return {str(field.attname): field for field in model._meta.concrete_fields}  # noqa: SLF001


def _columns(model: type[Model], names: Iterable[str]) -> str:
    fields = _fields(model)
    return ", ".join(connection.ops.quote_name(str(fields[name].column)) for name in names)


def _type(model: type[Model], name: str) -> str:
    """The type of a column, without its length: a text that is too long is refused, not cut."""
    field = _fields(model)[name]
    own: str = field.rel_db_type(connection) if field.is_relation or field.primary_key else field.db_type(connection)
    return own.partition("(")[0]
