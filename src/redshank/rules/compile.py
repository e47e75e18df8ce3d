"""From checked trees to Python code: one function for all rules that events of one type can fire.

The code is made from the tree alone, so nothing a rule's writer types becomes Python. Operands of `and` and `or` go
cheapest first, which their three-valued logic allows; an expression that stands in several places is evaluated once an
event, and only when one of them is reached; tests for missing values are left out where a value cannot be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from redshank.core import Media
from redshank.rules import counting, library
from redshank.rules.checker import asks_for_passing, reckon
from redshank.rules.outcome import Outlook
from redshank.rules.schema import MAX_SKEW_HOURS, PASSING
from redshank.rules.tree import (
    Arithmetic,
    Attribute,
    Bank,
    Call,
    Choice,
    Compare,
    Constant,
    Counting,
    Extra,
    Logic,
    Node,
    Not,
    Quantifier,
    Root,
    Variable,
)

if TYPE_CHECKING:
    from redshank.rules.ruleset import Facts

_UNSET: Any = object()
_ZERO = timedelta(0)
_SKEW = timedelta(hours=-MAX_SKEW_HOURS)
_WORTH_KEEPING = 40
"""An expression cheaper than this is evaluated anew wherever it stands."""


def _age(at: datetime, created_at: datetime | None) -> timedelta | None:
    """Time from creation to the event; 0 where the clocks differ a little, missing where they differ by more than a day."""
    if created_at is None:
        return None
    try:
        age = at - created_at
    except (TypeError, OverflowError):  # One of them has no zone.
        return None
    if age >= _ZERO:
        return age
    return _ZERO if age >= _SKEW else None


def _zoned(value: datetime | None) -> datetime | None:
    """A time that can be compared: one without zone is missing, since nobody knows when it is."""
    return value if value is None or value.tzinfo is not None else None


def _hash(media: Mapping[str, Any], item: Media, name: str) -> str | None:
    """The item's hash: the one reckoned here from its bytes, else the one that the platform sent."""
    reckoned = media.get(item.id)
    value = getattr(reckoned, name, None) if reckoned is not None else None
    if isinstance(value, bytes):
        value = value.hex()
    if value is None:
        value = getattr(item, name)
    return value.lower() if value is not None else None


def _hashes(items: Iterable[Media], media: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The hashes that are known of the items."""
    return tuple(found for item in items if (found := _hash(media, item, name)) is not None)


def _any(values: Iterable[bool | None]) -> bool | None:
    out: bool | None = False
    for value in values:
        if value:
            return True
        if value is None:
            out = None
    return out


def _all(values: Iterable[bool | None]) -> bool | None:
    out: bool | None = True
    for value in values:
        if value is False:
            return False
        if value is None:
            out = None
    return out


_RUNTIME: dict[str, Any] = {
    "_U": _UNSET,
    "_age": _age,
    "_all": _all,
    "_any": _any,
    "_ask": counting.ask,
    "_numbers": counting.numbers_of,
    "_field": library.field_of,
    "_hash": _hash,
    "_hashes": _hashes,
    "_media": library.media_of,
    "_part": library.part_of,
    "_reckon": reckon,
    "_zoned": _zoned,
}
_MATCH_ATTRIBUTES = frozenset(("bank", "entry", "policy", "severity", "label", "source", "confirmed", "distance"))


class Emitter:
    """Makes the code of trees on events of one type. `shared` are the keys of expressions that are kept once evaluated."""

    def __init__(self, tag: str, shared: Collection[str] = ()) -> None:
        self.outlook = Outlook(tag)
        self.tag = tag
        self.constants: dict[str, Any] = dict(_RUNTIME)
        self.kept: dict[str, str] = {key: f"k{number}" for number, key in enumerate(shared)}
        self.roots: dict[str, None] = {}
        self._constant_names: dict[int, str] = {}
        self._temporaries = 0

    # --- pieces ------------------------------------------------------------------------------------------------------

    def constant(self, value: Any) -> str:
        """The name under which the code finds `value`."""
        name = self._constant_names.get(id(value))
        if name is None:
            name = self._constant_names[id(value)] = f"c{len(self._constant_names)}"
            self.constants[name] = value
        return name

    def temporary(self) -> str:
        """A name that nothing else in the code has."""
        self._temporaries += 1
        return f"t{self._temporaries}"

    def prologue(self) -> list[str]:
        """The statements that bind what the code made so far uses of the event."""
        out = ["e = f.event"]
        sources = {
            "findings": "f.findings",
            "now": "f.now",
            "media": "_media(e)",
            "labels": "f.account_labels",
            "hashes": "f.media",
            "ties": "f.ties",
            "counts": "f.counts",
            "holds": "f.holds",
            "extra": "e.extra",
        }
        out += [f"{root} = {sources.get(root, f'e.{root}')}" for root in self.roots if root != "event"]
        if self.kept:
            out.append(" = ".join(self.kept.values()) + " = _U")
        return out

    def _root(self, name: str) -> str:
        self.roots[name] = None
        return "e" if name == "event" else name

    def is_missable(self, node: Node) -> bool:
        """Whether the value of `node` can be missing on events of this type."""
        return None in self.outlook.of(node)

    # --- expressions -----------------------------------------------------------------------------------------------

    def code(self, node: Node) -> str:
        """An expression that gives the value of `node`, None for missing."""
        outcomes = self.outlook.of(node)
        if len(outcomes) == 1:
            (outcome,) = outcomes
            if outcome != "there":
                return str(outcome)
        kept = self.kept.get(node.key)
        if kept is not None:
            return f"({kept} if {kept} is not _U else ({kept} := {self._code(node)}))"
        return self._code(node)

    def _code(self, node: Node) -> str:
        match node:
            case Constant(value=value):
                return repr(value) if isinstance(value, bool | int) else self.constant(value)
            case Root(name=name):
                return self._root(name)
            case Variable(name=name):
                return name
            case Extra():
                return self._extra(node)
            case Attribute():
                return self._attribute(node)
            case Call():
                return self._call(node)
            case Counting(counter=counter):
                counts = self._root("counts")
                return f"(None if {counts} is None else {counts}.get({counter.id}))"
            case Compare(left=left, right=Bank(name=bank)):
                holds = self._root("holds")
                return self._strict((left,), lambda text: f"{holds}({self.constant(bank)}, {text})")
            case Compare(op=op, left=left, right=right):
                return self._strict((left, right), lambda a, b: f"{a} {op} {b}")
            case Arithmetic(op=op, left=left, right=right):
                return self._strict((left, right), lambda a, b: f"_reckon({op!r}, {a}, {b})")
            case Logic():
                return self._logic(node)
            case Not(operand=operand):
                return self._strict((operand,), lambda value: f"not {value}")
            case Choice():
                yes, no = self.code(node.yes), self.code(node.no)
                return self._strict((node.test,), lambda test: f"{yes} if {test} else {no}")
            case Quantifier():
                return self._quantifier(node)
            case _:
                raise AssertionError(type(node))

    def _strict(self, nodes: tuple[Node, ...], body: Callable[..., str]) -> str:
        """`body` of the values of `nodes`; missing where one of them is."""
        tests, names = [], []
        for node in nodes:
            code = self.code(node)
            if not self.is_missable(node):
                names.append(code)
            elif code.isidentifier():
                tests.append(f"{code} is None")
                names.append(code)
            else:
                name = self.temporary()
                tests.append(f"({name} := {code}) is None")
                names.append(name)
        out = body(*names)
        return f"(None if {' or '.join(tests)} else {out})" if tests else f"({out})"

    def _extra(self, node: Extra) -> str:
        extra = self._root("extra")
        name = self.temporary()
        wanted = {"text": "is str", "truth": "is bool", "number": "in _numbers"}[node.type.kind]
        self.constants["_numbers"] = (int, float)
        return f"({name} if ({name} := {extra}.get({self.constant(node.path)})).__class__ {wanted} else None)"

    def _attribute(self, node: Attribute) -> str:
        name, base = node.name, node.base
        if isinstance(base, Root) and base.name == "event":
            event = self._root("event")
            return self.constant(self.tag) if name == "type" else f"{event}.{name}"
        record = base.type.record
        if name == "labels" and record == "account":
            labels = self._root("labels")
            return self._strict((base,), lambda _: labels)
        if name == "age":
            event = self._root("event")
            return self._strict((base,), lambda value: f"_age({event}.at, {value}.created_at)")
        if node.type.kind == "time" and node.key != "account.created_at":
            return self._strict((base,), lambda value: f"_zoned({value}.{name})")
        if record == "media" and name in ("sha256", "md5", "pdq"):
            hashes = self._root("hashes")
            return self._strict((base,), lambda value: f"_hash({hashes}, {value}, {name!r})")
        if record == "finding" and name == "on":
            event = self._root("event")
            return self._strict((base,), lambda value: f"_part({event}, {value})")
        if record == "finding" and name == "field":
            return self._strict((base,), lambda value: f"_field({value})")
        if record == "finding" and name in _MATCH_ATTRIBUTES:
            return self._strict((base,), lambda value: f"{value}.match.{name} if {value}.match is not None else None")
        if not self.is_missable(base):
            return f"{self.code(base)}.{name}"
        return self._strict((base,), lambda value: f"{value}.{name}")

    def _call(self, node: Call) -> str:
        name, arguments = node.function.name, node.arguments
        if node.function.takes_missing:
            return f"({self.code(arguments[0])} is not None)"
        if name == "contains":
            terms = library.folded_terms(node.constants["words"])
            return self._strict(arguments, lambda folded: self._contains(terms, folded))
        if name in ("matched", "severity"):
            findings, event = (self.code(argument) for argument in arguments)
            nothing = "False" if name == "matched" else "0"
            return f"({self.constant(node.run)}({findings}, {event}) if {findings} else {nothing})"
        if name == "hashes":
            hashes = self._root("hashes")
            return self._strict(arguments, lambda media: f"_hashes({media}, {hashes}, {node.constants['hash']!r})")
        run = "len" if name == "len" else self.constant(node.run)
        return self._strict(arguments, lambda *values: f"{run}({', '.join(values)})")

    def _contains(self, terms: list[str], folded: str) -> str:
        names = [self.constant(term) for term in terms]
        if len(names) == 1:
            return f"{names[0]} in {folded}.text"
        text = self.temporary()
        return f"{names[0]} in ({text} := {folded}.text) or " + " or ".join(f"{name} in {text}" for name in names[1:])

    def _logic(self, node: Logic) -> str:
        neutral = node.op == "and"  # The value of an operand that changes nothing.
        operands = [found for found in node.operands if self.outlook.of(found) != frozenset((neutral,))]
        operands.sort(key=lambda operand: operand.cost)
        if not any(self.is_missable(operand) for operand in operands):
            return f"({f' {node.op} '.join(self.code(operand) for operand in operands)})"
        decided = "False" if neutral else "True"
        out, tests = [], []
        for operand in operands:
            code = self.code(operand)
            if not self.is_missable(operand):
                out.append(f"{decided} if {'not ' if neutral else ''}{code} else ")
                continue
            name = self.temporary()
            tests.append(f"{name} is None")
            out.append(f"{decided} if ({name} := {code}) is {decided} else ")
        return f"({''.join(out)}None if {' or '.join(tests)} else {neutral})"

    def _quantifier(self, node: Quantifier) -> str:
        body = self.code(node.body)
        three = "_" if self.is_missable(node.body) else ""
        empty = "False" if node.op == "any" else "True"

        def over(items: str) -> str:
            return f"({three}{node.op}({body} for {node.variable} in {items}) if {items} else {empty})"

        items = self.code(node.items)
        if items.isidentifier() and not self.is_missable(node.items):
            return over(items)
        # Python takes no assignment within what a comprehension goes through, so that is bound before.
        name = self.temporary()
        if self.is_missable(node.items):
            return f"(None if ({name} := {items}) is None else {over(name)})"
        return f"({over(name)} if ({name} := {items}) is not None else {empty})"


Judge = Callable[["Facts", list[Any], list[str]], None]


def compile_rules(tag: str, whens: list[Node], fire: Callable[..., None]) -> Judge:
    """One function that judges events of the type `tag` by all of `whens`.

    It calls `fire(number, facts, outcome, error, fired, errors)` for each that comes to True or to missing, or that
    raises; the others are silent.
    """
    emitter = Emitter(tag, _shared(whens, Outlook(tag)))
    emitter.constants["_fire"] = fire
    body: list[str] = []
    for number, when in enumerate(whens):
        code = emitter.code(when)
        body += ["try:", f" r = {code}"]
        if emitter.is_missable(when):
            body += [" if r is not False:", f"  _fire({number}, f, r, None, fired, errors)"]
        else:
            body += [" if r:", f"  _fire({number}, f, True, None, fired, errors)"]
        body += ["except Exception as x:", f" _fire({number}, f, None, x, fired, errors)"]
    lines = ["def judge(f, fired, errors):"] + [f" {line}" for line in [*emitter.prologue(), *body]]
    judge: Judge = _run(lines, f"<rules for {tag}>", emitter.constants, "judge")
    return judge


Asker = Callable[["Facts"], list[counting.Ask]]


def compile_asks(tag: str, counters: Sequence[tuple[Counting, bool]]) -> Asker:
    """One function that gives what counters ask of events of the type `tag`.

    Beside each stands whether a rule reads it on such events; where none does, only events that count are of interest.
    """
    emitter = Emitter(tag)
    body: list[str] = []
    named: dict[str, str] = {}

    def numbers(node: Node, most: int) -> str:
        """The name of the numbers of `node`, which many counters share."""
        code = f"_numbers(e.network, {emitter.code(node)}, {most})"
        if code not in named:
            named[code] = f"n{len(named)}"
            body.append(f"{named[code]} = {code}")
        return named[code]

    for number, (found, read) in enumerate(counters):
        counts = True in emitter.outlook.of(found.where) if found.where else True
        counts = counts and (tag not in PASSING or (found.where is not None and asks_for_passing(found.where)))
        if emitter.outlook.of(found.per) == frozenset((None,)) or not (counts or read):
            continue
        emitter.constants[f"q{number}"] = found.counter
        keys = numbers(found.per, counting.MAX_KEYS)
        values = "None" if found.value is None else numbers(found.value, counting.MAX_VALUES)
        hit = "False" if not counts else "True"
        if counts and found.where is not None:
            body.append(f"h = {keys} is not None and {emitter.code(found.where)} is True")
            hit = "h"
        wanted = f"{keys} is not None" if read or hit == "True" else "h"
        body += [f"if {wanted}:", f" out.append(_ask(q{number}, {keys}, {hit}, {values}))"]
    lines = ["def asks(f):", *(f" {line}" for line in [*emitter.prologue(), "out = []", *body, "return out"])]
    asks: Asker = _run(lines, f"<counters for {tag}>", emitter.constants, "asks")
    return asks


def compile_value(tag: str, node: Node, variables: tuple[str, ...] = ()) -> Callable[..., Any]:
    """A function of facts, and of the loop variables that `node` needs, that gives the value of `node`."""
    emitter = Emitter(tag)
    code = emitter.code(node)
    lines = [f"def value({', '.join(('f', *variables))}):"]
    lines += [f" {line}" for line in [*emitter.prologue(), f"return {code}"]]
    value: Callable[..., Any] = _run(lines, f"<{tag}: a part of a rule>", emitter.constants, "value")
    return value


def _run(lines: list[str], name: str, constants: dict[str, Any], function: str) -> Any:
    scope = dict(constants)
    exec(compile("\n".join(lines) + "\n", name, "exec"), scope)  # noqa: S102 - made from checked trees alone
    return scope[function]


def _shared(whens: list[Node], outlook: Outlook) -> list[str]:
    """The keys of what is worth keeping: it stands in several places, or within a loop that it does not depend on."""
    counts: Counter[str] = Counter()

    def count(node: Node, *, looped: bool) -> None:
        outcomes = outlook.of(node)
        if len(outcomes) == 1 and outcomes != frozenset(("there",)):
            return
        worth = not node.free and node.cost >= _WORTH_KEEPING
        if worth:
            counts[node.key] += 2 if looped else 1
            if counts[node.key] > (2 if looped else 1):
                return  # What it is made of is evaluated once with it.
        for child in node.children:
            count(child, looped=looped or (isinstance(node, Quantifier) and child is node.body))

    for when in whens:
        count(when, looped=False)
    return [key for key, number in counts.items() if number > 1]
