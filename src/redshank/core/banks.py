"""What a bank holds, as far as a text can name it: what rules that look into the past are given of it."""

from __future__ import annotations

import msgspec


class BankTexts(msgspec.Struct, frozen=True):
    """The canonical values of a bank's entries that are in force. `kind` is the bank's; empty: read as of every kind."""

    kind: str
    values: frozenset[str] = frozenset()
