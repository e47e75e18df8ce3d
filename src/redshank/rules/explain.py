"""Why a rule fired: the values that made it, as `expression = value` lines that the person it hits can be shown.

Reckoned only when a rule fires or cannot be evaluated. Only what decided is told: of an `or` the sides that held, of an
`any` the first item that met the condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redshank.rules import library
from redshank.rules.compile import compile_value
from redshank.rules.outcome import structurally_missing
from redshank.rules.schema import BY_CLASS
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

MAX_LINES = 12
"""Lines of one explanation; a rule of a hundred words is explained well enough by the first that were found."""
_VARIABLE = re.compile(r"\b_(\d)\b")


class Explainer:
    """Explains one tree; the small functions it needs are compiled when first used and kept."""

    def __init__(self, when: Node) -> None:
        self._when = when
        self._values: dict[tuple[str, int], Callable[..., Any]] = {}

    def because(self, facts: Facts) -> tuple[str, ...]:
        """Why the tree came to True."""
        lines: dict[str, None] = {}
        _Telling(self, facts, lines).tell(self._when, {})
        return tuple(lines)[:MAX_LINES]

    def missing(self, facts: Facts) -> tuple[str, ...]:
        """What was missing when the tree came to missing, and could have been there: `account.age`."""
        names: dict[str, None] = {}
        _Telling(self, facts, names).tell_missing(self._when, {})
        return tuple(names)[:MAX_LINES]

    def value(self, node: Node, facts: Facts, variables: dict[str, Any]) -> Any:
        """What `node` comes to."""
        if isinstance(node, Constant):
            return node.value
        tag = BY_CLASS[type(facts.event)].tag
        run = self._values.get((tag, id(node)))
        names = tuple(sorted(node.free))
        if run is None:
            run = self._values[tag, id(node)] = compile_value(tag, node, names)
        return run(facts, *(variables[name] for name in names))


class _Telling:
    def __init__(self, explainer: Explainer, facts: Facts, lines: dict[str, None]) -> None:
        self._explainer = explainer
        self._facts = facts
        self._lines = lines
        self._tag = BY_CLASS[type(facts.event)].tag

    def value(self, node: Node, variables: dict[str, Any]) -> Any:
        return self._explainer.value(node, self._facts, variables)

    def say(self, node: Node, value: Any) -> None:
        self._lines[f"{_shown(node)} = {library.display(value)}"] = None

    def tell(self, node: Node, variables: dict[str, Any]) -> None:
        """Says why `node`, which is a truth value, came to what it did."""
        match node:
            case Constant() | Root() | Variable():
                return
            case Logic(op=op, operands=operands):
                outcome = self.value(node, variables)
                for operand in operands:
                    # What decided: of an `or` that holds, the sides that hold; of an `and` that does not, the others.
                    if outcome == (op == "and") or self.value(operand, variables) == outcome:
                        self.tell(operand, variables)
            case Not(operand=operand):
                self.tell(operand, variables)
            case Choice():
                self.tell(node.test, variables)
                test = self.value(node.test, variables)
                if test is not None:
                    self.tell(node.yes if test else node.no, variables)
            case Quantifier():
                self._tell_quantifier(node, variables)
            case Compare(left=left, right=right):
                for side in (left, right):
                    self.tell_value(side, variables)
                if isinstance(right, Bank) or (isinstance(right, Constant) and right.key.startswith("list(")):
                    found = self.value(node, variables)
                    inside = "in" if found == (node.op == "in") else "not in"
                    self._lines[f"{_shown(left)} is {inside} {right.key}"] = None
            case Call():
                self._tell_call(node, variables)
            case _:
                self.tell_value(node, variables)

    def tell_value(self, node: Node, variables: dict[str, Any]) -> None:
        """Says what the parts of a value are."""
        match node:
            case Constant() | Bank() | Root() | Variable():
                return
            case Arithmetic():
                self.tell_value(node.left, variables)
                self.tell_value(node.right, variables)
            case Choice():
                self.tell(node, variables)
            case Attribute() | Extra():
                self.say(node, self.value(node, variables))
            case Call():
                self._tell_call(node, variables)
            case _:
                self.say(node, self.value(node, variables))

    def _tell_call(self, node: Call, variables: dict[str, Any]) -> None:
        name = node.function.name
        if name in ("contains", "word", "matches", "script"):
            self._tell_text(node, variables)
        elif name in ("matched", "severity"):
            found = library.Filter(node.constants).select(self._facts.findings, self._facts.event)
            found.sort(key=lambda finding: -(finding.match.severity if finding.match else 0))
            for finding in found[:3]:
                self._lines[f"{node.key} = {library.display_finding(finding)}"] = None
            if not found:
                self._lines[f"{node.key} = {'no' if name == 'matched' else '0'}"] = None
        elif name == "known":
            (argument,) = node.arguments
            self.say(argument, self.value(argument, variables))
        else:
            self.say(node, self.value(node, variables))

    def _tell_text(self, node: Call, variables: dict[str, Any]) -> None:
        """The place in the text where it was found."""
        (prepared,) = node.arguments
        assert isinstance(prepared, Call)
        (text_node,) = prepared.arguments
        text = self.value(text_node, variables)
        found = self.value(node, variables)
        span = library.find_span(node.function.name, node.constants, text) if found and isinstance(text, str) else None
        if span is not None:
            self._lines[f"{_shown(text_node)} = {library.excerpt(text, *span)}"] = None
        else:
            self._lines[f"{_shown(node)} = {library.display(found)}"] = None

    def _tell_quantifier(self, node: Quantifier, variables: dict[str, Any]) -> None:
        items = self.value(node.items, variables)
        outcome = self.value(node, variables)
        wanted = node.op == "any"
        if not items or outcome is not wanted:
            self.say(node.items, items)
            return
        for item in items:  # Of an `all` that holds, the first item stands for the others.
            inner = {**variables, node.variable: item}
            if self.value(node.body, inner) is wanted:
                self._lines[f"{_shown(node.items)} has {library.display(item)}"] = None
                self.tell(node.body, inner)
                return

    def tell_missing(self, node: Node, variables: dict[str, Any]) -> None:
        """Names what is missing in `node`, which came to missing."""
        if self.value(node, variables) is not None:
            return
        match node:
            case Constant():
                self._lines[node.key] = None
            case Quantifier():
                items = self.value(node.items, variables)
                if items is None:
                    self.tell_missing(node.items, variables)
                    return
                for item in items:
                    self.tell_missing(node.body, {**variables, node.variable: item})
            case Attribute(base=base):
                if self.value(base, variables) is None:
                    self.tell_missing(base, variables)
                elif not structurally_missing(node, self._tag):
                    self._lines[_shown(node)] = None
            case Counting(per=per) if self.value(per, variables) is None:
                self.tell_missing(per, variables)
            case Compare(left=left, right=Bank() as bank) if self.value(left, variables) is not None:
                self._lines[bank.key] = None
            case Compare(left=left, right=Bank()):
                self.tell_missing(left, variables)
            case Root() | Extra():
                if not structurally_missing(node, self._tag):
                    self._lines[_shown(node)] = None
            case _:
                before = len(self._lines)
                children = node.children
                for child in children:
                    self.tell_missing(child, variables)
                if len(self._lines) == before and not any(self.value(child, variables) is None for child in children):
                    self._lines[_shown(node)] = None


def _shown(node: Node) -> str:
    """The expression as a person reads it: loop variables by the letters x, y, z."""
    return _VARIABLE.sub(lambda found: "xyzuvw"[int(found[1]) % 6], node.key)
