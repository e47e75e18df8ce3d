"""What rules ask for on one event. An effect is a wish, not a deed: whoever applies a verdict does so once."""

from __future__ import annotations

import msgspec

from redshank.core.actions import Verb
from redshank.core.findings import Finding


class OpenCase(msgspec.Struct, frozen=True, tag="open_case", tag_field="effect", kw_only=True, omit_defaults=True):
    """Open a case on the event's subject, or feed the open one.

    `priority` runs from 0 to 100; `deadline_minutes` counts from the event's receipt, None meaning the queue's own.
    """

    queue: str = "review"
    priority: int = 50
    deadline_minutes: int | None = None


class AddLabel(msgspec.Struct, frozen=True, tag="add_label", tag_field="effect", kw_only=True, omit_defaults=True):
    """Put a label of ours on the event's account; rules can read it later. The platform is told nothing."""

    label: str


class Preserve(msgspec.Struct, frozen=True, tag="preserve", tag_field="effect", kw_only=True, omit_defaults=True):
    """Keep the event and its media as evidence, beyond the usual retention."""


class RequestAction(msgspec.Struct, frozen=True, tag="action", tag_field="effect", kw_only=True, omit_defaults=True):
    """Ask the platform to act. `target` is the kind of subject: the event's own post or media, or its account.

    `label` goes with the verb `label`; `duration_hours` with `restrict` and `suspend`, None meaning until restored.
    """

    verb: Verb
    target: str
    label: str | None = None
    duration_hours: int | None = None


Effect = OpenCase | AddLabel | Preserve | RequestAction


class Fired(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One rule that fired: its version, and the values that made it fire, as `expression = value` lines."""

    rule: str
    version: str
    policy: str
    description: str
    live: bool
    because: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """All that was seen and asked for on one event.

    `errors` holds, for each rule that could not be evaluated, `rule: reason`; its effects are withheld.
    """

    findings: tuple[Finding, ...] = ()
    fired: tuple[Fired, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True where nothing was seen, nothing fired, and nothing went wrong."""
        return not (self.findings or self.fired or self.errors)
