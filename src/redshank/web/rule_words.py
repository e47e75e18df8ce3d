"""Rules in words that people read: what they ask for, what differs between two texts, a first text to begin with."""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import Literal

import msgspec
from django.utils.translation import gettext as _

from redshank.core import AddLabel, Effect, OpenCase, Preserve, RequestAction
from redshank.web.showing import span_words
from redshank.web.words import SUBJECTS, word

TEMPLATE = """\
rules:
  - id: name-of-the-rule
    policy: recruitment
    description: One sentence for the reviewer, and for the person it hits.
    owner: trust-and-safety
    when: contains(post.text, "words of the call") and account.age < days(7)
    effects:
      - preserve
      - open_case: {queue: review, priority: 60, deadline: 12 h}
    # Where nobody can tell, because the platform did not say how old the account is:
    unsure:
      - open_case: {queue: review, priority: 30, deadline: 2 days}
    # Whom you mean, and whom you do not: the reporter, the researcher, the person who argues against it.
    fires_on:
      - post: {text: "These are the words of the call"}
        account: {age: 2 days}
    silent_on:
      - post: {text: "The words of the call were read out in court"}
        account: {age: 400 days}
"""
"""What the editor begins with: it is right as it stands, so that the first change already shows what it does."""
CONTEXT = 3
"""Lines that are shown around a difference."""


def effect_words(effect: Effect) -> str:
    """What an effect asks for, in a sentence."""
    match effect:
        case Preserve():
            return _("Keeps the event and its media as evidence.")
        case AddLabel(label=label):
            return _("Puts our label “%(label)s” on the account.") % {"label": label}
        case OpenCase(queue=queue, priority=priority, deadline_minutes=minutes):
            said = _("Opens a case in the queue %(queue)s, priority %(priority)d of 100") % {
                "queue": queue,
                "priority": priority,
            }
            if minutes is None:
                return _("%(opens)s.") % {"opens": said}
            return _("%(opens)s, to be decided within %(span)s.") % {
                "opens": said,
                "span": span_words(timedelta(minutes=minutes)),
            }
        case RequestAction():
            return _action_words(effect)


def _action_words(effect: RequestAction) -> str:
    sentences = {
        "remove": _("Asks the platform to remove the %(what)s, at once."),
        "restrict": _("Asks the platform to restrict the %(what)s, at once."),
        "suspend": _("Asks the platform to suspend the %(what)s, at once."),
        "label": _("Asks the platform to label the %(what)s, at once."),
        "restore": _("Asks the platform to restore the %(what)s, at once."),
    }
    said = sentences[effect.verb] % {"what": word(SUBJECTS, effect.target)}
    if effect.label:
        said += " " + _("The label: “%(label)s”.") % {"label": effect.label}
    if effect.duration_hours:
        said += " " + _("For %(span)s.") % {"span": span_words(timedelta(hours=effect.duration_hours))}
    return said


class Line(msgspec.Struct, frozen=True):
    """One line of a difference: of both texts, of the new one, of the old one, or a gap between two places."""

    kind: Literal["same", "new", "old", "gap"]
    text: str
    number: int | None = None

    @property
    def sign(self) -> str:
        """What stands before the line."""
        return {"same": " ", "new": "+", "old": "−", "gap": "⋯"}[self.kind]


def difference(old: str, new: str) -> list[Line]:
    """What differs, line by line, with a few lines around each place; nothing where the texts are the same.

    `number` is the line's in the new text; an old line has none.
    """
    before, after = old.splitlines(), new.splitlines()
    out: list[Line] = []
    for group in difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT):
        if out or group[0][3]:
            out.append(Line("gap", ""))
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                out += [Line("same", after[at], at + 1) for at in range(new_start, new_end)]
                continue
            out += [Line("old", before[at]) for at in range(old_start, old_end)]
            out += [Line("new", after[at], at + 1) for at in range(new_start, new_end)]
    return out
