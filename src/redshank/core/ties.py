"""What is known of an account's ties to suspended ones, as rules and people read it."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Band = Literal["possible", "likely"]
TieState = Literal["open", "confirmed", "rejected"]
ReasonKind = Literal[
    "follows", "contacts", "links", "declared", "words", "name", "avatar", "device", "address", "mail", "phone",
    "hours", "language", "time", "likeness", "banner", "style",
]  # fmt: skip
REASON_KINDS: tuple[str, ...] = get_args(ReasonKind)
"""The kinds of evidence that speak for a tie."""


class Tie(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One claim that the owner of an event's account had another one, which was suspended.

    `account` is that other one's id on the same network; `probability` runs from 0 to 1; `kinds` are the kinds of evidence
    that speak for it, the strongest first; `state` is what a person said of it, `open` where nobody has yet.
    """

    account: str
    band: Band
    probability: float
    kinds: tuple[ReasonKind, ...] = ()
    state: TieState = "open"
