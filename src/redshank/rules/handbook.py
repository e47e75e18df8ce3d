"""The library and the names, as text for a person; made from their declarations, so that it cannot lie."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from redshank.rules.counting import MAX_KEYS
from redshank.rules.effects import EFFECTS
from redshank.rules.library import FUNCTIONS, QUANTIFIERS
from redshank.rules.schema import PASSING, RECORDS, ROOTS, Field

_GROUPS = ("text", "time", "lists", "findings", "counters", "missing values")
_CONDITIONS = """\
a == b   a != b   a < b   a <= b   1 <= a < 5      compare
a in [x, y]   a not in list("name")                look up
a and b   a or b   not a   x if a else y           join
a + b   a - b   a * b   a / b   a % b              reckon with numbers, times and durations"""
_MISSING = """\
What the platform did not send is missing, not false. A comparison or function with a missing part is missing. \
`missing and False` is False, `missing or True` is True; any other `and`, `or`, `not` with a missing part is missing. \
A rule fires where its `when` is True. Where it is missing, the rule asks for its `unsure` effects alone, which cannot be \
actions, and the verdict says what was missing. `known(x)` asks whether a value is there."""

_COUNTED = f"""\
A key is a text, such as account.id, or a list, such as post.links: the event counts under each item (of a long list, the \
first {MAX_KEYS}), and the highest count is told. Where the key is missing, so is the count. Keys of different networks are \
different keys. A counter looks at the time at which events happened, not at which they came; it begins with the first rule \
that asks for it, live or in the shadow, and rules that ask for the same share it. A counter that does not ask for event.type \
in `where` counts none of the events below that a rule does not look at."""


def manual() -> str:
    """What a rule can say: names, operators, functions, missing values."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "NAMES"
    for name, field in ROOTS.items():
        yield f"  {name:<10} {field.sentence}"
    for record, fields in RECORDS.items():
        yield ""
        yield f"{record.upper()}"
        for name, field in fields.items():
            yield f"  {name:<14} {_described(field)}"
    yield ""
    yield "CONDITIONS"
    yield textwrap.indent(_CONDITIONS, "  ")
    for signature, sentence, example in QUANTIFIERS.values():
        yield f"  {signature}"
        yield f"      {sentence}"
        yield f"      {example}"
    for group in _GROUPS:
        yield ""
        yield f"FUNCTIONS: {group}"
        for function in FUNCTIONS.values():
            if function.group == group:
                yield f"  {function.signature} → {function.returns}"
                yield from textwrap.wrap(function.sentence, 100, initial_indent="      ", subsequent_indent="      ")
                yield f"      {function.example}"
    yield ""
    yield "WHAT IS COUNTED"
    yield from textwrap.wrap(_COUNTED, 100, initial_indent="  ", subsequent_indent="  ")
    yield ""
    yield "WHAT IS MISSING"
    yield from textwrap.wrap(_MISSING, 100, initial_indent="  ", subsequent_indent="  ")
    yield ""
    yield "EVENTS"
    passing = ", ".join(sorted(PASSING))
    yield from textwrap.wrap(
        f"A rule that does not ask for event.type does not look at {passing}.",
        100,
        initial_indent="  ",
        subsequent_indent="  ",
    )
    yield ""
    yield f"EFFECTS: {', '.join(EFFECTS)}"


def _described(field: Field) -> str:
    out = str(field.type)
    if field.type.choices:
        out += ": " + ", ".join(field.type.choices)
    if field.optional:
        out += ", may be missing"
    return textwrap.shorten(out, 110, placeholder=" …") + (f"  {field.sentence}" if field.sentence else "")
