"""The library and the names, as text for a person; made from their declarations, so that it cannot lie."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import msgspec

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


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One name, operator, function or effect. `group` is where it stands, `says` one sentence, `example` a condition."""

    group: str
    name: str
    says: str = ""
    example: str = ""


def entries() -> list[Entry]:
    """All that a rule can say, one by one, for whoever looks something up."""
    out = [Entry(group="names", name=name, says=field.sentence) for name, field in ROOTS.items()]
    for record, fields in RECORDS.items():
        start = {"followed account": "followed"}.get(record, record)
        out += [
            Entry(group=record, name=f"{start}.{name}", says=_described(field), example="")
            for name, field in fields.items()
        ]
    for line in _CONDITIONS.splitlines():
        example, _blank, says = line.rstrip().rpartition("   ")
        out.append(Entry(group="conditions", name=", ".join(example.strip().split("   ")), says=says.strip()))
    for signature, sentence, example in QUANTIFIERS.values():
        out.append(Entry(group="conditions", name=signature, says=sentence, example=example))
    for function in FUNCTIONS.values():
        name = f"{function.signature} → {function.returns}"
        out.append(Entry(group=function.group, name=name, says=function.sentence, example=function.example))
    out.append(Entry(group="counters", name="how they count", says=_COUNTED))
    out.append(Entry(group="missing values", name="missing", says=_MISSING))
    out += [Entry(group="effects", name=name, says=says, example=example) for name, says, example in _EFFECTS]
    return out


_EFFECTS = (
    ("preserve", "Keep the event and its media as evidence.", "- preserve"),
    ("label", "Put a label of ours on the account; the platform is told nothing.", "- label: watch"),
    ("open_case", "Open a case, or feed the open one.", "- open_case: {queue: review, priority: 60, deadline: 12 h}"),
    (
        "action",
        "Ask the platform to act, at once and without a person. Needs a `policy`.",
        "- action: {restrict: account, hours: 24}",
    ),
)
assert tuple(sorted(name for name, _says, _example in _EFFECTS)) == tuple(sorted(EFFECTS))


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
