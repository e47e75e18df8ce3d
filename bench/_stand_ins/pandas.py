"""As much of pandas as the generator of campaigns needs, for machines that do not have it: columns in, Parquet or CSV out."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

__version__ = "0"  # So old that pyarrow does without it.


class DataFrame:
    """Columns by name, or rows and the names of their columns."""

    def __init__(self, data: Mapping[str, Any] | Sequence[Sequence[Any]], columns: Sequence[str] = ()) -> None:
        if isinstance(data, Mapping):
            data = pa.table({name: pa.array(values) for name, values in data.items()})
        self._data, self._columns = data, columns

    def __len__(self) -> int:
        return len(self._data)

    def to_parquet(self, path: str) -> None:
        pa.parquet.write_table(self._data, path)

    def to_csv(self, path: str, *, index: bool) -> None:
        assert not index
        with Path(path).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([self._columns, *self._data])
