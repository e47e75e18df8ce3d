"""Reads accounts from Parquet files of the linking workload's shape. Each column but `account_id` may be absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from redshank.core import BadInput
from redshank.evasion import kernels
from redshank.evasion.evidence import ADDRESS, DEVICE, FOLLOW, LINK, Encoded, Raw, join, pack
from redshank.evasion.names import script_of

COLUMNS = (
    "account_id", "handle", "display_name", "bio", "lang", "a0", "a1", "a2", "a3",
    "follow_ids", "domains", "device", "ip", "hours", "created_at", "ended_at",
)  # fmt: skip
TOKENS = ("device", "ip")
BATCH = 50_000


def read_accounts(path: Path, *, without: tuple[str, ...] = ()) -> Encoded:
    """The accounts in `path`; columns named in `without`, and unknown ones, are not read.

    `device` and `ip` are taken as keyed tokens that somebody else has made. Raises `BadInput` where the file is not
    Parquet, has no `account_id`, or a column is not of its type.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"cannot be read as Parquet: {error}", where=str(path)) from None
    with file:
        present = [name for name in COLUMNS if name in file.schema_arrow.names and name not in without]
        if "account_id" not in present:
            raise BadInput("has no column account_id", where=str(path))
        parts: list[Encoded] = []
        try:
            parts += [pack(_raw(batch)) for batch in file.iter_batches(BATCH, columns=present)]
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
            raise BadInput(f"cannot be read: {error}", where=str(path)) from None
    if not parts:
        raise BadInput("holds no account", where=str(path))
    return join(parts)


def read_owners(folder: Path) -> tuple[dict[int, int], dict[int, tuple[str, int]]]:
    """The labels of a workload: owner by suspended account; kind and owner (-1: nobody) by new account. For fitting alone."""
    table = pq.read_table(folder / "suspended.parquet", columns=["account_id", "owner"])
    owners = dict(zip(table["account_id"].to_pylist(), table["owner"].to_pylist(), strict=True))
    truth: dict[int, tuple[str, int]] = {}
    for line in (folder / "truth.csv").read_text().splitlines()[1:]:
        number, kind, owner, _ = line.split(",")
        truth[int(number)] = kind, int(owner)
    return owners, truth


def read_scripts(path: Path) -> dict[int, str]:
    """The script of each account's display name, or of its handle where it has none. For a model's card."""
    present = pq.read_schema(path).names
    table = pq.read_table(path, columns=[name for name in ("account_id", "display_name", "handle") if name in present])
    ids = table["account_id"].to_pylist()
    names, handles = (
        table[name].to_pylist() if name in present else [None] * len(ids) for name in ("display_name", "handle")
    )
    return {number: script_of(name or handle or "") for number, name, handle in zip(ids, names, handles, strict=True)}


def _raw(batch: pa.RecordBatch) -> Raw:
    n = batch.num_rows

    def column(name: str) -> Any:
        return batch.column(name) if name in batch.schema.names else None

    def numbers(name: str) -> npt.NDArray[np.int64]:
        values = column(name)
        if values is None:
            return np.zeros(n, np.int64)
        return np.asarray(values.fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False))

    def texts(name: str) -> list[str]:
        values = column(name)
        return [""] * n if values is None else [value or "" for value in values.cast(pa.string()).to_pylist()]

    avatars = np.zeros((n, 4), np.uint64)
    for at in range(4):
        if (values := column(f"a{at}")) is not None:
            avatars[:, at] = values.fill_null(0).cast(pa.uint64()).to_numpy(zero_copy_only=False)
    hours = np.zeros((n, 24), np.int64)
    if (values := column("hours")) is not None:
        for at, listed in enumerate(values.to_pylist()):
            if listed is not None and len(listed) == 24:
                hours[at] = listed
    strings: list[str] = []
    kinds: list[int] = []
    counts: list[int] = []
    domains, device, address = column("domains"), texts("device"), texts("ip")
    listed_domains = [None] * n if domains is None else domains.to_pylist()
    for at in range(n):
        before = len(strings)
        for domain in listed_domains[at] or ():
            strings.append(domain)
            kinds.append(LINK)
        for kind, token in ((DEVICE, device[at]), (ADDRESS, address[at])):
            if token:
                strings.append(f"\0{token}")
                kinds.append(kind)
        counts.append(len(strings) - before)
    more, more_starts = _follows(column("follow_ids"), n)
    return Raw(
        ids=numbers("account_id"), created=numbers("created_at"), ended=numbers("ended_at"), avatars=avatars, hours=hours,
        handles=texts("handle"), names=texts("display_name"), bios=texts("bio"), languages=texts("lang"),
        strings=strings, string_kinds=kinds, string_counts=counts, more=more, more_starts=more_starts,
    )  # fmt: skip


def _follows(values: Any, n: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Keys of all followed ids, as `encode` would make them of the ids' decimal digits."""
    if values is None:
        return np.empty(0, np.uint32), np.zeros(n + 1, np.int64)
    values = values.cast(pa.large_list(pa.large_string()))
    sizes = np.nan_to_num(values.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    flat = pa.concat_arrays([values.flatten()])
    _, offsets, data = flat.buffers()
    ends = np.frombuffer(offsets, np.int64)[flat.offset : flat.offset + len(flat) + 1]
    raw = np.frombuffer(data, np.uint8)[ends[0] :] if data is not None else np.empty(0, np.uint8)
    return kernels.hash_spans(raw, ends[1:] - ends[0], np.full(len(flat), FOLLOW, np.uint8)), starts
