"""Tries rules on events from elsewhere: whose shape is ours but for what the rule files declare under `fields:`.

A declared field stands in such an event in its natural place (`post.topic`), not in `extra`; the network may be left
out. What rules are tried on, nothing is done about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from redshank.core import AddLabel, Effect, Event, EventError, Fired, OpenCase, Preserve
from redshank.rules.counting import Ledger, moment
from redshank.rules.effects import collect, harshness
from redshank.rules.examples import adopt
from redshank.rules.ruleset import Facts, RuleSet

_NO_LABELS: frozenset[str] = frozenset()
_SWEEP = 100_000
"""Events after which counters let go of what is over."""


class Trial:
    """A rule set, and the labels of accounts. `labels` has, for each label, the ids of the accounts that bear it.

    Counters begin at nothing, and count the events that are judged, in their order.
    """

    def __init__(self, rules: RuleSet, labels: Mapping[str, Collection[str]] = {}) -> None:
        self._rules = rules
        self._origins = rules.origins
        self._ledger = Ledger()
        self._counted = 0
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        by_id: dict[str, set[str]] = {}
        for label, ids in labels.items():
            for account in ids:
                by_id.setdefault(account, set()).add(label)
        self._labels = {account: frozenset(found) for account, found in by_id.items()}

    def decode(self, raw: bytes | str) -> Event:
        """The event in one JSON object. Raises `EventError` with the field's path and the reason."""
        try:
            value = self._decode(raw)
            value.setdefault("network", "trial")
            event: Event = msgspec.convert(adopt(value, self._origins), Event)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            raise EventError(reason, where=path.strip("`.")) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise EventError(f"not valid JSON: {error}") from None
        if event.at.tzinfo is None:
            raise EventError("a time without a zone", where="at", hint="Write it as 2026-01-31T12:00:00Z.")
        return event

    def judge(self, event: Event) -> tuple[tuple[Fired, ...], tuple[str, ...]]:
        """What fires on `event`, judged at its own time, and which rules could not be evaluated."""
        account = getattr(event, "account", None)
        labels = self._labels.get(account.id, _NO_LABELS) if account is not None else _NO_LABELS
        facts = Facts(event, (), event.at, labels)
        if self._rules.counters:
            facts.counts = self._count(facts)
        return self._rules.evaluate(facts)

    def _count(self, facts: Facts) -> Mapping[int, int]:
        at = moment(facts.event.at)
        self._counted += 1
        if self._counted % _SWEEP == 0:
            self._ledger.sweep(at)
        return self._ledger.count(self._rules.asks(facts), at)


def effect_names(fired: Iterable[Fired]) -> list[str]:
    """The effects of all that fired, live or not, in one word each, the harshest first.

    An action is named by its verb, a label by itself, a case by its queue, keeping evidence `preserve`.
    """
    effects = sorted(collect(fired, live=False), key=harshness, reverse=True)
    return list(dict.fromkeys(map(_name, effects)))


def _name(effect: Effect) -> str:
    match effect:
        case OpenCase(queue=queue):
            return queue
        case AddLabel(label=label):
            return label
        case Preserve():
            return "preserve"
        case _:
            return effect.verb
