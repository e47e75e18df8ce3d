"""What a condition can come to on events of one type, before there is any event.

The one idea: evaluate the tree over sets of outcomes. A truth value can be True, False, missing, or any of these; any
other value can be there or missing. From this follow three things: which types of event a rule is asked about at all,
which tests can be left out of the compiled code, and which rules can never or will always fire.
"""

from __future__ import annotations

import math
from typing import Any

from redshank.rules.schema import EVENT_TYPES, VALUE_PARTS, field_missing_on, missing_on
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
)

Outcome = bool | str | None
Outcomes = frozenset[Outcome]
"""A subset of {True, False, None} for a truth value, of {"there", None} for any other; None is missing."""

_THERE: Outcomes = frozenset(("there",))
_MAYBE: Outcomes = frozenset(("there", None))
_MISSING: Outcomes = frozenset((None,))
_BOTH: Outcomes = frozenset((True, False))
_ANY: Outcomes = frozenset((True, False, None))
_TRUE: Outcomes = frozenset((True,))
_FALSE: Outcomes = frozenset((False,))


class Outlook:
    """The outcomes of trees on events of the type `tag`, remembered by node.

    A list that does not exist is missing; with `lists_to_come`, it may as well be there.
    """

    def __init__(self, tag: str, *, lists_to_come: bool = False) -> None:
        self.tag = tag
        self._absent_list = _MAYBE if lists_to_come else _MISSING
        self._seen: dict[int, tuple[Node, Outcomes]] = {}  # The node is kept, so that no other gets its id.

    def of(self, node: Node) -> Outcomes:
        """What `node` can come to."""
        found = self._seen.get(id(node))
        if found is None:
            found = self._seen[id(node)] = (node, self._of(node))
        return found[1]

    def _of(self, node: Node) -> Outcomes:
        match node:
            case Constant(value=None):
                return self._absent_list
            case Constant(value=bool(value)):
                return _TRUE if value else _FALSE
            case Constant():
                return _THERE
            case Root(name=name):
                return _presence(missing_on(name, self.tag))
            case Extra():
                return self._truths(node, _MAYBE)
            case Attribute():
                return self._truths(node, self._attribute(node))
            case Call():
                return self._call(node)
            case Counting(per=per):
                return _MISSING if self.of(per) == _MISSING else _MAYBE
            case Compare():
                return self._compare(node)
            case Arithmetic():
                strict = self._strict(node.left, node.right)
                return strict if strict == _MISSING else _MAYBE
            case Logic():
                return self._logic(node)
            case Not(operand=operand):
                return frozenset(None if value is None else not value for value in self.of(operand))
            case Choice():
                test = self.of(node.test)
                out: set[Outcome] = {value for value in test if value is None}
                if True in test:
                    out |= self.of(node.yes)
                if False in test:
                    out |= self.of(node.no)
                return frozenset(out)
            case Quantifier():
                return self._quantifier(node)
            case _:
                return _BOTH if node.type.kind == "truth" else _THERE

    def _truths(self, node: Node, presence: Outcomes) -> Outcomes:
        if node.type.kind != "truth" or presence == _MISSING:
            return presence
        return _ANY if None in presence else _BOTH

    def _attribute(self, node: Attribute) -> Outcomes:
        if isinstance(node.base, Root) and node.base.name == "event":
            return _presence(field_missing_on(node.name, self.tag))
        base = self.of(node.base)
        if base == _MISSING:
            return _MISSING
        return _MAYBE if node.optional or None in base else _THERE

    def _strict(self, *nodes: Node) -> Outcomes:
        """Whether a value that needs all of `nodes` is there."""
        outcomes = [self.of(node) for node in nodes]
        if _MISSING in outcomes:
            return _MISSING
        return _MAYBE if any(None in found for found in outcomes) else _THERE

    def _call(self, node: Call) -> Outcomes:
        if node.function.takes_missing:
            (value,) = (self.of(argument) for argument in node.arguments)
            if value == _MISSING:
                return _FALSE
            return _BOTH if None in value else _TRUE
        presence = self._strict(*node.arguments)
        if presence != _MISSING and node.function.may_be_missing:
            presence = _MAYBE
        return self._truths(node, presence)

    def _compare(self, node: Compare) -> Outcomes:
        decided = self._decided(node)
        presence = self._strict(node.left, node.right)
        if presence == _MISSING:
            return _MISSING
        if isinstance(node.right, Bank):
            return _ANY
        values: Outcomes = _BOTH if decided is None else frozenset((decided,))
        return values | _MISSING if None in presence else values

    def _decided(self, node: Compare) -> bool | None:
        """What the comparison always comes to when nothing is missing; None where that depends on the event."""
        left, op, right = node.left, node.op, node.right
        if left.key == right.key and op in ("==", "!=", "<", "<=", ">", ">="):
            return op in ("==", "<=", ">=")
        if isinstance(left, Constant) and not isinstance(right, Constant) and op not in ("in", "not in"):
            left, right, op = right, left, _TURNED[op]
        if left.key == "event.type" and isinstance(right, Constant):
            return _decide_type(op, self.tag, right.value)
        if right.key == "event.type":
            return None
        low, limit = left.type.low, _number(right)
        if low is None or limit is None:
            return None
        if op in (">=", "!=") and limit <= low and (op == ">=" or limit < low):
            return True
        if op == ">" and limit < low:
            return True
        if op == "<" and limit <= low:
            return False
        if op in ("<=", "==") and limit < low:
            return False
        high = left.type.high
        if high is None or limit < high:
            return None
        if op == "<=" or (op in ("<", "!=") and limit > high):
            return True
        return False if op == ">" or (op in (">=", "==") and limit > high) else None

    def _logic(self, node: Logic) -> Outcomes:
        outcomes = [self.of(operand) for operand in node.operands]
        deciding = node.op == "or"  # The value that decides: True for `or`, False for `and`.
        out: set[Outcome] = set()
        if any(deciding in found for found in outcomes):
            out.add(deciding)
        if not any(found == frozenset((deciding,)) for found in outcomes):
            undecided = [found - {deciding} for found in outcomes]
            if any(None in found for found in undecided):
                out.add(None)
            if all((not deciding) in found for found in undecided):
                out.add(not deciding)
        if (not deciding) in out and _contradict(node.operands, negated=deciding):
            out.discard(not deciding)  # `a < 2 and a > 5` is never True, `a < 5 or a > 2` never False.
            out.add(deciding)
        return frozenset(out)

    def _quantifier(self, node: Quantifier) -> Outcomes:
        items = self.of(node.items)
        if items == _MISSING:
            return _MISSING
        empty = node.op == "all"
        body = self.of(node.body)
        out: set[Outcome] = {empty} if not isinstance(node.items, Constant) else set()
        out |= body
        if None in items:
            out.add(None)
        return frozenset(out)


def applies_to(node: Node, *, all_types: bool, passing: frozenset[str]) -> tuple[str, ...]:
    """The types of event on which `node` could come to True; those `passing` by only with `all_types`.

    Where only a list is missing for that, the rule is still asked, and says each time that it cannot be evaluated.
    """
    tags = (tag for tag in EVENT_TYPES if all_types or tag not in passing)
    return tuple(tag for tag in tags if True in Outlook(tag, lists_to_come=True).of(node))


def always(node: Node, tags: tuple[str, ...]) -> bool | None:
    """Whether `node` is True on every event of these types; None where it is, or cannot be evaluated."""
    outcomes = [Outlook(tag, lists_to_come=True).of(node) for tag in tags]
    if not outcomes or any(False in found for found in outcomes):
        return False
    return None if any(None in found for found in outcomes) else True


def structurally_missing(node: Node, tag: str) -> bool:
    """Whether events of the type `tag` never have this value, whatever the platform sends."""
    return Outlook(tag).of(node) == _MISSING and bool(_roots(node) & (VALUE_PARTS | {"event", "ties"}))


def _roots(node: Node) -> set[str]:
    out: set[str] = set()
    stack = [node]
    while stack:
        found = stack.pop()
        if isinstance(found, Root):
            out.add(found.name)
        stack.extend(found.children)
    return out


def _presence(missing: str) -> Outcomes:
    return {"never": _THERE, "maybe": _MAYBE, "always": _MISSING}[missing]


def _decide_type(op: str, tag: str, value: Any) -> bool | None:
    match op:
        case "==":
            return bool(tag == value)
        case "!=":
            return bool(tag != value)
        case "in" if value is not None:
            return tag in value
        case "not in" if value is not None:
            return tag not in value
        case _:
            return None


_TURNED: dict[str, Any] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _number(node: Node) -> float | None:
    if not isinstance(node, Constant) or node.value is None:
        return None
    if node.type.kind == "number":
        return float(node.value)
    if node.type.kind == "duration":
        return float(node.value.total_seconds())
    return None


_NEGATED: dict[str, Any] = {
    "==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "in": "not in", "not in": "in",
}  # fmt: skip


def _contradict(operands: tuple[Node, ...], *, negated: bool = False) -> bool:
    """Whether two of the conditions exclude each other, `a < 2` and `a > 5`, `x == "a"` and `x == "b"`; where `negated`,
    whether their opposites do."""
    ranges: dict[str, list[Any]] = {}  # key: [low, low is out, high, high is out]
    allowed: dict[str, frozenset[Any]] = {}
    excluded: dict[str, frozenset[Any]] = {}
    truths = {operand.key for operand in operands}
    for operand in operands:
        if isinstance(operand, Not) and operand.operand.key in truths:
            return True
        if not isinstance(operand, Compare):
            continue
        left, op, right = operand.left, operand.op, operand.right
        if isinstance(left, Constant) and op not in ("in", "not in"):
            left, right, op = right, left, _TURNED[op]
        if not isinstance(right, Constant) or right.value is None:
            continue
        op, key = _NEGATED[op] if negated else op, left.key
        if op in ("==", "in", "!=", "not in"):
            items = right.value if isinstance(right.value, frozenset) else frozenset((right.value,))
            if op in ("==", "in"):
                allowed[key] = allowed.get(key, items) & items
            else:
                excluded[key] = excluded.get(key, frozenset()) | items
            if key in allowed and allowed[key] <= excluded.get(key, frozenset()):
                return True
        limit = _number(right)
        if limit is None:
            continue
        found = ranges.setdefault(key, [-math.inf, False, math.inf, False])
        if op in (">", ">=", "==") and (limit, op == ">") > (found[0], found[1]):
            found[0], found[1] = limit, op == ">"
        if op in ("<", "<=", "==") and (-limit, op == "<") > (-found[2], found[3]):
            found[2], found[3] = limit, op == "<"
        if found[0] > found[2] or (found[0] == found[2] and (found[1] or found[3])):
            return True
    return False
