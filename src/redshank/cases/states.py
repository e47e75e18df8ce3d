"""What may happen to a case, and who may do it now: one table and two questions, asked by every path that changes one.

A case is open until somebody decides it, and open again when that decision is undone. While it is open one person at a
time may hold it; a hold runs out by itself, so a person who walks away blocks nobody for long.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from redshank.core import Problem

State = Literal["open", "decided"]
Step = Literal["feed", "take", "release", "escalate", "decide", "undo"]

HOLD = timedelta(minutes=30)
"""How long a hold lasts after the last thing its holder did on the case."""

TRANSITIONS: dict[tuple[State, Step], State] = {
    ("open", "feed"): "open",
    ("open", "take"): "open",
    ("open", "release"): "open",
    ("open", "escalate"): "open",
    ("open", "decide"): "decided",
    ("decided", "undo"): "open",
}


class Conflict(Problem):
    """Somebody else was here meanwhile: `what` says who did what. Nothing was changed."""


class NotAllowed(Problem):
    """This person's role does not allow it."""


def after(state: State, step: Step) -> State:
    """The state that `step` leads to. Raises `Conflict` where the case is not in a state for it."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise Conflict(f"this case is {state}", hint="Load it again to see what happened.") from None


def holder(held_by: str | None, held_until: datetime | None, now: datetime) -> str | None:
    """Who holds a case at `now`; None where nobody does, or the hold ran out."""
    return held_by if held_by and held_until and held_until > now else None


def check_turn(held_by: str | None, held_until: datetime | None, who: str, now: datetime) -> None:
    """Raises `Conflict` where somebody other than `who` holds the case at `now`."""
    other = holder(held_by, held_until, now)
    if other and other != who and held_until:
        minutes = max(1, round((held_until - now).total_seconds() / 60))
        raise Conflict(f"{other} is at this case", hint=f"The hold runs out in {minutes} min, unless it is renewed.")


def check_version(seen: int, is_now: int, last: str) -> None:
    """Raises `Conflict` where the case moved on since version `seen`; `last` says who did what."""
    if seen != is_now:
        raise Conflict(last or "this case changed since you opened it", hint="Load it again; nothing was changed.")
