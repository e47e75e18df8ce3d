"""Puts very many rows into a table, and finds very many by a value, some twenty times as fast as the ORM does.

The one idea: what is the same in all rows is prepared once, no model is made for any, and all values that are put or looked
for travel as one parameter, so that one statement does it while other threads run; `Among` says the latter to the ORM.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        self._ended = (
            time.monotonic()
        )  # Its end counts: others wait while what changed is written, which a busy disk makes long.
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


def pick(
    model: type[Model], by: str, values: Iterable[str], names: Sequence[str], *, same: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """The fields `names` of those rows of `model` that have one of `values`, texts, in the field `by`, and all that `same` says.

    In no order. Names are those of attributes; numbers, texts and whether something is null come as they are, times as the
    store keeps them. Fast where an index leads from `same` to `by`.
    """
    if not (wanted := list(values)):
        return []
    fields = {str(field.attname): field for field in model._meta.concrete_fields}  # noqa: SLF001
    quote = connection.ops.quote_name
    columns = {name: quote(str(fields[name].column)) for name in (*names, *same, by)}
    own = "".join(f"{columns[name]} = %s AND " for name in same)
    among, given = _among(wanted)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(columns[name] for name in names)} FROM {quote(model._meta.db_table)} "  # noqa: S608, SLF001
            f"WHERE {own}{columns[by]} {among}",
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
    fields = {str(field.attname): field for field in model._meta.concrete_fields}  # noqa: SLF001
    quote = connection.ops.quote_name

    def columns(some: Sequence[str]) -> str:
        return ", ".join(quote(str(fields[name].column)) for name in some)

    common = [fields[name].get_db_prep_save(value, connection) for name, value in same.items()]
    new = ", ".join(f"{columns([name])} = excluded.{columns([name])}" for name in over)
    into = f"INSERT INTO {quote(model._meta.db_table)} ({columns([*names, *same])})"  # noqa: SLF001
    kept = f"ON CONFLICT ({columns(unique)}) DO UPDATE SET {new}" if over else ""
    if connection.vendor == "postgresql":
        types = {
            name: fields[name].rel_db_type(connection) if fields[name].is_relation else fields[name].db_type(connection)
            for name in (*names, *same)
        }
        given = ", ".join(f"%s::{types[name]}[]" for name in names)
        also = "".join(f", %s::{types[name]}" for name in same)
        values = (list(column) for column in zip(*rows, strict=True))
        aliases = ", ".join(f"c{at}" for at in range(len(names)))
        query = f"{into} SELECT {aliases}{also} FROM unnest({given}) AS given ({aliases}) {kept}"  # noqa: S608
        parameters = [*common, *values]
    else:
        given = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(names)))
        query = f"{into} SELECT {given}{', %s' * len(same)} FROM json_each(%s) WHERE true {kept}"  # noqa: S608
        parameters = [*common, msgspec.json.encode(rows).decode()]
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
