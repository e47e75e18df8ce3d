"""What may become of an action: one table, asked by every path that changes a state.

An action is green (`confirmed`) only by the platform's own word. It is `sent` once the platform took it, `failed` once
the platform refused it or could not be reached, `canceled` once we took it back; what failed can be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from redshank.core import Problem

State = Literal["requested", "sent", "confirmed", "failed", "canceled"]
Step = Literal["take", "confirm", "fail", "cancel", "resend"]

TRANSITIONS: dict[tuple[State, Step], State] = {
    ("requested", "take"): "sent",
    ("requested", "confirm"): "confirmed",
    ("requested", "fail"): "failed",
    ("requested", "cancel"): "canceled",
    ("sent", "confirm"): "confirmed",
    ("sent", "fail"): "failed",
    # A platform that did not answer in time, or that first refused, may still do it, and say so later.
    ("failed", "confirm"): "confirmed",
    ("failed", "cancel"): "canceled",
    ("failed", "resend"): "requested",
    # What was on its way as we took it back may have arrived: then the platform's word is the truth.
    ("canceled", "confirm"): "confirmed",
}
"""Every step that changes a state. `confirmed` is the end: nothing leads away from it but an action of its own."""


class WrongState(Problem):
    """The action is not in a state in which this can be done."""


def after(state: State, step: Step) -> State:
    """The state that `step` leads to. Raises `WrongState` where it leads nowhere."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise WrongState(f"an action that is {state} cannot be {_DONE[step]}") from None


def may(state: State, step: Step) -> bool:
    """Whether `step` leads anywhere from `state`."""
    return (state, step) in TRANSITIONS


_DONE: dict[Step, str] = {
    "take": "taken",
    "confirm": "confirmed",
    "fail": "failed",
    "cancel": "canceled",
    "resend": "sent again",
}


class Done(msgspec.Struct, frozen=True):
    """A confirmed action on an account, as far as its standing depends on it. `undoes` is another's id, or empty."""

    id: str
    verb: str
    undoes: str = ""


def standing(done: Iterable[Done]) -> Literal["active", "restricted", "suspended"]:
    """How an account stands after the confirmed actions `done`, given in the order in which they were sent.

    A restore takes back the one action that it undoes, or, where it names none, all before it. What restores a restore
    is the first action asked for again, so it needs no rule of its own.
    """
    holding: dict[str, str] = {}
    for action in done:
        if action.verb in ("suspend", "restrict"):
            holding[action.id] = action.verb
        elif action.verb == "restore" and action.undoes:
            holding.pop(action.undoes, None)
        elif action.verb == "restore":
            holding.clear()
    if "suspend" in holding.values():
        return "suspended"
    return "restricted" if holding else "active"
