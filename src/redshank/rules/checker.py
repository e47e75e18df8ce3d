"""From the text of a `when` to a checked tree: a subset of Python's expressions, typed against the event's schema.

Only what is named here passes; everything else is an error with its place and a hint. The tree, never the text, is
what gets compiled. All errors of an expression are found in one go; a part that is wrong has no type and starts no
errors of its own.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from redshank.rules.counting import counter_of
from redshank.rules.diagnostics import nearest
from redshank.rules.library import FUNCTIONS, PREPARATIONS, QUANTIFIERS, ArgumentError, Function, Parameter
from redshank.rules.mistakes import ELSEWHERE, PLACES, syntax
from redshank.rules.schema import (
    DURATION,
    EVENT_TYPES,
    NUMBER,
    RECORDS,
    ROOTS,
    TEXT,
    TEXTS,
    TIME,
    TRUTH,
    Type,
)
from redshank.rules.tree import (
    Arithmetic,
    Attribute,
    Bank,
    Call,
    Choice,
    Compare,
    Comparison,
    Constant,
    Counting,
    Extra,
    Logic,
    Node,
    Not,
    Operation,
    Quantifier,
    Root,
    Variable,
    measure,
    truth_constant,
    walk,
)

MAX_LENGTH = 20_000
"""Characters of one expression."""
MAX_DEPTH = 40
"""Levels of nesting, names written out; Python's own parser takes 200 brackets, and a level compiles to four at most."""
MAX_SIZE = 4_000
"""Nodes of one expression, names written out."""

_BARE = re.compile(r"[A-Za-z][\w.-]*")
_WRITTEN = frozenset(("post.text", "report.text", "account.bio", "account.display_name", "account.handle"))
MAX_LOOKED_AT = 1_000
"""Items of a list that are looked at for what can never be."""

_COMPARISONS: dict[type[ast.cmpop], Comparison] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_OPERATIONS: dict[type[ast.operator], Operation] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
}
_RESULTS: dict[tuple[str, Operation, str], Type] = {
    ("time", "-", "time"): DURATION,
    ("time", "-", "duration"): TIME,
    ("time", "+", "duration"): TIME,
    ("duration", "+", "time"): TIME,
    ("duration", "+", "duration"): DURATION,
    ("duration", "-", "duration"): DURATION,
    ("duration", "*", "number"): DURATION,
    ("number", "*", "duration"): DURATION,
    ("duration", "/", "number"): DURATION,
    ("duration", "/", "duration"): NUMBER,
    ("number", "+", "number"): NUMBER,
    ("number", "-", "number"): NUMBER,
    ("number", "*", "number"): NUMBER,
    ("number", "/", "number"): NUMBER,
    ("number", "%", "number"): NUMBER,
}
_FOREIGN: dict[type[ast.AST], str] = {
    ast.Lambda: "functions of one's own",
    ast.ListComp: "list comprehensions",
    ast.SetComp: "set comprehensions",
    ast.DictComp: "dictionaries",
    ast.GeneratorExp: "a `for` outside of any(…) and all(…)",
    ast.Dict: "dictionaries",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.JoinedStr: "f-strings",
    ast.FormattedValue: "f-strings",
    ast.Subscript: "indexes [ ]",
    ast.Slice: "slices",
    ast.Starred: "*",
    ast.NamedExpr: ":=",
}


class Report(Protocol):
    """Takes what is wrong: message, first character and the one after the last, within the expression, hint."""

    def __call__(self, message: str, start: int, end: int, hint: str = "") -> None: ...  # noqa: D102


class Scope:
    """What an expression can use beside the schema: named expressions, lists, declared fields.

    `refuse` gives, for a node that cannot be answered where the expression is asked, what is wrong with it and a hint.
    `banks` has the kind of each bank that is switched on, None where nobody knows them.
    """

    def __init__(
        self,
        names: Callable[[str], Node | None],
        known_names: Mapping[str, Any],
        lists: Mapping[str, frozenset[str]],
        fields: Mapping[str, Type],
        refuse: Callable[[Node], tuple[str, str] | None] | None = None,
        banks: Mapping[str, str] | None = None,
    ) -> None:
        self.names = names
        self.known_names = known_names
        self.lists = lists
        self.fields = fields
        self.refuse = refuse
        self.banks = banks


def check_expression(text: str, scope: Scope, error: Report, warn: Report, *, any_type: bool = False) -> Node | None:
    """The tree of `text`, or None where it has errors, all of them reported by then. It gives yes or no, or `any_type`."""
    if len(text) > MAX_LENGTH:
        error(f"an expression of more than {MAX_LENGTH:,} characters", 0, 1, "Give parts of it a name under `names:`.")
        return None
    if not text.strip():
        error("expected an expression", 0, 1)
        return None
    checker = _Checker(text, scope, error, warn)
    tree = checker.parse()
    if tree is None:
        return None
    node = checker.whole(tree, any_type=any_type)
    return None if checker.failed else node


class _Bad(Exception):
    """The expression is wrong here, which has been reported."""


class _Checker:
    def __init__(self, text: str, scope: Scope, error: Report, warn: Report) -> None:
        # Line breaks mean nothing within an expression; as blanks they keep every character in its place.
        self.text = "".join(" " if char in "\n\r\t\f\v" else char for char in text)
        self.scope = scope
        self._error = error
        self._warn = warn
        self.failed = False
        self.variables: dict[str, Variable] = {}
        self._members: list[ast.expr] = []
        """What stands at the right of `in`."""
        self._bytes = [0]
        for char in self.text:
            self._bytes.append(self._bytes[-1] + len(char.encode("utf-8", "replace")))

    # --- reading -------------------------------------------------------------------------------------------------

    def parse(self) -> ast.expr | None:
        """Python's tree of the text, at most so deep that walking it by recursion is safe; None where there is none."""
        lead = len(self.text) - len(self.text.lstrip())
        self._lead = lead
        text = self.text[lead:]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text, mode="eval").body
        except SyntaxError as found:
            start = min(lead + max(0, (found.offset or 1) - 1), len(self.text) - 1)
            if "too many nested" in found.msg:
                message, hint = self._too_deep()
                self.fail(message, start, start + 1, hint)
            else:
                self.fail(*syntax(found.msg, self.text, start))
            return None
        except (RecursionError, MemoryError):
            message, hint = self._too_deep()
            self.fail(message, 0, 1, hint)
            return None
        except ValueError:
            at = self.text.find("\0")
            self.fail("a character that cannot stand here", max(at, 0), max(at, 0) + 1)
            return None
        stack: list[tuple[ast.AST, int]] = [(tree, 1)]
        while stack:
            node, depth = stack.pop()
            if depth > 2 * MAX_DEPTH:
                message, hint = self._too_deep()
                self.fail(message, *self.span(node), hint)
                return None
            stack.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
        return tree

    def _too_deep(self) -> tuple[str, str]:
        return (
            f"nested more than {MAX_DEPTH} levels deep",
            "Give parts of it a name under `names:`, or write less of it.",
        )

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First character of `node` in the expression's text, and the one after its last."""
        start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 1)
        return self._chars(start), self._chars(end or start + 1)

    def _chars(self, offset: int) -> int:
        # ast counts bytes of UTF-8, from after the leading blanks.
        target = offset + self._bytes[self._lead]
        low, high = 0, len(self._bytes) - 1
        while low < high:
            middle = (low + high) // 2
            if self._bytes[middle] < target:
                low = middle + 1
            else:
                high = middle
        return low

    def fail(self, message: str, start: int, end: int, hint: str = "") -> None:
        """Reports an error; the expression then has no tree."""
        self.failed = True
        self._error(message, start, end, hint)

    def bad(self, node: ast.AST, message: str, hint: str = "") -> _Bad:
        """Reports an error at `node`; what it gives is to be raised."""
        self.fail(message, *self.span(node), hint)
        return _Bad()

    def warn(self, node: ast.AST, message: str, hint: str = "") -> None:
        self._warn(message, *self.span(node), hint)

    def sizes(self, at: ast.AST, *children: Node) -> dict[str, Any]:
        out = measure(*children)
        if out["depth"] > MAX_DEPTH:
            raise self.bad(at, *self._too_deep())
        if out["size"] > MAX_SIZE:
            raise self.bad(at, f"more than {MAX_SIZE:,} parts, names written out", "Make several rules of it.")
        return out

    def shown(self, node: Node) -> str:
        """The node's key with loop variables as they are written."""
        key = node.key
        for written, variable in self.variables.items():
            key = re.sub(rf"\b{variable.name}\b", written, key)
        return key

    # --- expressions -----------------------------------------------------------------------------------------------

    def whole(self, tree: ast.expr, *, any_type: bool) -> Node | None:
        """The tree of a whole expression, which must be a truth value unless it may be of any type."""
        try:
            return self.expression(tree) if any_type else self.truth(tree)
        except _Bad:
            return None

    def several(self, *trees: ast.expr, of: Callable[[ast.expr], Node] | None = None) -> list[Node]:
        """Each of `trees` checked, so that the errors of all are found."""
        out: list[Node] = []
        wrong = False
        for tree in trees:
            try:
                out.append((of or self.expression)(tree))
            except _Bad:
                wrong = True
        if wrong:
            raise _Bad
        return out

    def truth(self, tree: ast.expr) -> Node:
        node = self.expression(tree)
        if node.type.kind == "truth":
            return node
        hint = "Compare it with something, or ask known(…)."
        if node.type.kind == "list":
            hint = "Ask len(…) > 0, any(…) or `in`."
        if isinstance(node, Constant) and node.type.kind == "text":
            hint = f'Write the whole comparison again, or one with a list: … in ["…", {node.key}].'
        raise self.bad(tree, f"expected yes or no, but this is {node.type.describe()}", hint)

    def expression(self, tree: ast.expr) -> Node:
        node = self._expression(tree)
        if self.scope.refuse is not None:
            for found in walk(node):
                if said := self.scope.refuse(found):
                    raise self.bad(tree, *said)
        return node

    def _expression(self, tree: ast.expr) -> Node:
        match tree:
            case ast.BoolOp():
                return self.logic(tree)
            case ast.UnaryOp(op=ast.Not()):
                operand = self.truth(tree.operand)
                return (
                    truth_constant(value=not operand.value)
                    if isinstance(operand, Constant)
                    else self._not(tree, operand)
                )
            case ast.UnaryOp(op=ast.USub()):
                return self.negative(tree)
            case ast.Compare():
                return self.comparison(tree)
            case ast.BinOp():
                return self.arithmetic(tree)
            case ast.IfExp():
                return self.choice(tree)
            case ast.Call():
                return self.call(tree)
            case ast.Attribute():
                return self.attribute(tree)
            case ast.Name():
                return self.name(tree)
            case ast.Constant():
                return self.constant(tree)
            case ast.List() | ast.Tuple() | ast.Set():
                return self.items(tree)
            case _:
                what = _FOREIGN.get(type(tree), "this")
                raise self.bad(tree, f"the rule language does not have {what}")

    def _not(self, at: ast.expr, operand: Node) -> Node:
        key, sizes = f"not {_wrap(operand)}", self.sizes(at, operand)
        return Not(type=TRUTH, key=key, cost=operand.cost + 10, operand=operand, **sizes)

    def logic(self, tree: ast.BoolOp) -> Node:
        op = "and" if isinstance(tree.op, ast.And) else "or"
        operands: list[Node] = []
        for operand in self.several(*tree.values, of=self.truth):
            if isinstance(operand, Logic) and operand.op == op:
                operands += operand.operands
            else:
                operands.append(operand)
        return self._logic(tree, op, operands)

    def _logic(self, at: ast.expr, op: Any, operands: list[Node]) -> Node:
        unique = {operand.key: operand for operand in operands}
        if len(unique) == 1:
            return operands[0]
        return Logic(
            type=TRUTH,
            key=f" {op} ".join(_wrap(operand) for operand in unique.values()),
            cost=sum(operand.cost for operand in unique.values()) + 10,
            op=op,
            operands=tuple(unique.values()),
            **self.sizes(at, *unique.values()),
        )

    def comparison(self, tree: ast.Compare) -> Node:
        trees = [tree.left, *tree.comparators]
        for op, right in zip(tree.ops, tree.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                raise self._nothing(right, negated=isinstance(op, ast.IsNot))
        nones = [found for found in trees if isinstance(found, ast.Constant) and found.value is None]
        if nones:
            raise self._nothing(nones[0], negated=isinstance(tree.ops[0], ast.NotEq))
        self._members += [
            right for op, right in zip(tree.ops, tree.comparators, strict=True) if isinstance(op, ast.In | ast.NotIn)
        ]
        nodes = self.several(*trees)
        parts: list[Node] = []
        wrong = False
        for index, op in enumerate(tree.ops):
            try:
                parts.append(self._compare(_COMPARISONS[type(op)], nodes[index : index + 2], trees[index : index + 2]))
            except _Bad:
                wrong = True
        if wrong:
            raise _Bad
        return parts[0] if len(parts) == 1 else self._logic(tree, "and", parts)

    def _nothing(self, at: ast.expr, *, negated: bool) -> _Bad:
        said = "known(…)" if negated else "not known(…)"
        return self.bad(at, "nothing is compared with None", f"What the platform did not send is missing: ask {said}.")

    def _compare(self, op: Comparison, nodes: list[Node], trees: list[ast.expr]) -> Node:
        left, right = nodes
        if op in ("in", "not in"):
            self._check_in(left, right, trees)
        elif not left.type.like(right.type):
            at = trees[0] if isinstance(left, Constant) and not isinstance(right, Constant) else trees[1]
            other, this = (right, left) if at is trees[0] else (left, right)
            hint = ""
            kinds = {left.type.kind, right.type.kind}
            if kinds in ({"duration", "number"}, {"duration", "text"}):
                hint = "Write a duration as days(7), hours(2), minutes(30)."
            elif kinds == {"time", "text"}:
                hint = 'Write a time as time("2026-07-01").'
            elif kinds == {"time", "duration"}:
                hint = f"How long ago that is: now - {self.shown(left if left.type.kind == 'time' else right)}."
                hint = "Ask account.age." if "account.created_at" in hint else hint
            elif kinds == {"list", "text"} and op in ("==", "!="):
                found, items = (left, right) if right.type.kind == "list" else (right, left)
                hint = f"Ask {self.shown(found)} {'in' if op == '==' else 'not in'} {self.shown(items)}."
            elif "list" in kinds and "number" in kinds:
                hint = f"Ask len({self.shown(left if left.type.kind == 'list' else right)})."
            elif {left.type.kind, right.type.kind} == {"text", "number"}:
                hint = "Quoted values are texts, digits without quotes are numbers."
            raise self.bad(
                at, f"expected {other.type.describe()} to compare with, but this is {this.type.describe()}", hint
            )
        elif op not in ("==", "!=") and left.type.kind not in ("number", "time", "duration"):
            raise self.bad(trees[0], f"{left.type.describe()} is not more or less than another", "Use == or !=.")
        elif left.type.kind in ("list", "record"):
            raise self.bad(trees[0], f"{left.type.describe()} cannot be compared", "Compare what is in it.")
        else:
            self._check_choices(left, right, trees[1])
            self._check_choices(right, left, trees[0])
            self._check_domain(right, left, trees[0])
        self._check_domain(left, right, trees[1])
        if isinstance(left, Constant) and isinstance(right, Constant) and right.value is not None:
            return truth_constant(value=_decide(op, left.value, right.value))
        negated = op == "not in" and isinstance(right, Bank)
        op = "in" if negated else op
        made = Compare(
            type=TRUTH,
            key=f"{_wrap(left)} {op} {_wrap(right)}",
            cost=left.cost + right.cost + 30,
            op=op,
            left=left,
            right=right,
            **self.sizes(trees[1], left, right),
        )
        return self._not(trees[1], made) if negated else made

    def _check_in(self, left: Node, right: Node, trees: list[ast.expr]) -> None:
        if right.type.kind == "text":
            raise self.bad(
                trees[1], "expected a list, but this is a text", "To look into a text, use contains(…) or word(…)."
            )
        if right.type.kind != "list":
            raise self.bad(trees[1], f"expected a list, but this is {right.type.describe()}")
        item = right.type.item
        if item is not None and not item.like(left.type):
            hint = (
                f"Ask any(x in … for x in {self.shown(left)})." if left.type.item and item.like(left.type.item) else ""
            )
            raise self.bad(trees[0], f"the list holds {item}s, but this is {left.type.describe()}", hint)
        if left.type.kind in ("list", "record"):
            raise self.bad(trees[0], f"{left.type.describe()} cannot be looked up in a list", "Look up what is in it.")
        if (
            isinstance(right, Constant)
            and right.value is not None
            and isinstance(trees[1], ast.List | ast.Tuple | ast.Set)
        ):
            for element in trees[1].elts:
                if isinstance(element, ast.Constant):
                    self._check_choice(left, element.value, element)
        elif item is not None and isinstance(left, Constant):
            self._check_choice(Constant(type=item, key="", value=None), left.value, trees[0])

    def _check_choices(self, node: Node, other: Node, at: ast.expr) -> None:
        if isinstance(other, Constant):
            self._check_choice(node, other.value, at)

    def _check_choice(self, node: Node, value: Any, at: ast.expr) -> None:
        choices = node.type.choices
        if choices and isinstance(value, str) and value not in choices:
            hint = nearest(value, choices) or f"It is one of {', '.join(choices)}."
            raise self.bad(at, f'{self.shown(node) or "it"} is never "{value}"', hint)

    def _check_domain(self, node: Node, other: Node, at: ast.expr) -> None:
        """Warns where a domain is compared with a text that none can be, such as one with `www.`."""
        if not (isinstance(node, Call) and node.function.name == "domain" and isinstance(other, Constant)):
            return
        items = other.value if isinstance(other.value, frozenset) else {other.value}
        for item in sorted(items)[:MAX_LOOKED_AT] if other.value is not None else ():
            meant = node.run(item if "://" in item else f"https://{item}")
            if meant != item:
                hint = f'Write it as "{meant}".' if meant else "A domain is a host, such as clip.example."
                self.warn(at, f'no domain is ever "{item[:100]}": it is in lower case, without `www.` and path', hint)
                return

    def arithmetic(self, tree: ast.BinOp) -> Node:
        op = _OPERATIONS.get(type(tree.op))
        if op is None:
            raise self.bad(
                tree,
                "the rule language has + - * / % and no other operators",
                "Is it `and`, `or`, `not` that is meant?",
            )
        left, right = self.several(tree.left, tree.right)
        result = _RESULTS.get((left.type.kind, op, right.type.kind))
        if result is None:
            hint = ""
            if {left.type.kind, right.type.kind} == {"duration", "number"} and op in "+-":
                hint = "Write a duration as days(7), hours(2), minutes(30)."
            raise self.bad(tree, f"cannot reckon {left.type.describe()} {op} {right.type.describe()}", hint)
        if isinstance(left, Constant) and isinstance(right, Constant):
            value = reckon(op, left.value, right.value)
            if value is None:
                raise self.bad(tree, "this has no answer", "It divides by zero or is too large.")
            return Constant(type=result, key=_constant_key(value), value=value)
        return Arithmetic(
            type=result,
            key=f"{_wrap(left)} {op} {_wrap(right)}",
            cost=left.cost + right.cost + 150,
            op=op,
            left=left,
            right=right,
            **self.sizes(tree, left, right),
        )

    def negative(self, tree: ast.UnaryOp) -> Node:
        operand = self.expression(tree.operand)
        if operand.type.kind not in ("number", "duration"):
            raise self.bad(tree, f"cannot take the negative of {operand.type.describe()}")
        if isinstance(operand, Constant):
            return Constant(type=Type(operand.type.kind), key=_constant_key(-operand.value), value=-operand.value)
        minus = Constant(type=NUMBER, key="-1", value=-1)
        return Arithmetic(
            type=Type(operand.type.kind),
            key=f"-1 * {_wrap(operand)}",
            cost=operand.cost + 150,
            op="*",
            left=minus,
            right=operand,
            **self.sizes(tree, minus, operand),
        )

    def choice(self, tree: ast.IfExp) -> Node:
        (test,) = self.several(tree.test, of=self.truth)
        yes, no = self.several(tree.body, tree.orelse)
        if not yes.type.like(no.type):
            raise self.bad(
                tree.orelse, f"expected {yes.type.describe()} as before `if`, but this is {no.type.describe()}"
            )
        return Choice(
            type=Type(yes.type.kind, item=yes.type.item, record=yes.type.record),
            key=f"{_wrap(yes)} if {_wrap(test)} else {_wrap(no)}",
            cost=test.cost + max(yes.cost, no.cost) + 20,
            test=test,
            yes=yes,
            no=no,
            **self.sizes(tree, test, yes, no),
        )

    # --- names and attributes ------------------------------------------------------------------------------------

    def name(self, tree: ast.Name) -> Node:
        name = tree.id
        if name in self.variables:
            return self.variables[name]
        if name in ROOTS:
            return Root(type=ROOTS[name].type, key=name, cost=3, name=name)
        found = self.scope.names(name)
        if found is not None:
            return found
        if name in self.scope.known_names:
            self.failed = True  # Its own errors say what is wrong.
            raise _Bad
        if name in FUNCTIONS or name in QUANTIFIERS:
            example = FUNCTIONS[name].example if name in FUNCTIONS else QUANTIFIERS[name][2]
            raise self.bad(tree, f"`{name}` is a function and needs its arguments", f"For example: {example}")
        hint = nearest(name, [*ROOTS, *self.scope.known_names, *self.variables, "True", "False"])
        if not hint:
            if name in self.scope.lists:
                raise self.bad(tree, f"there is no `{name}`", f'Write list("{name}").')
            owners = sorted({field for field in ("account", "post", "event", "report") if name in RECORDS[field]})
            hint = f"Did you mean `{owners[0]}.{name}`?" if owners else ELSEWHERE.get(name.lower(), "")
            if len(name) == 1:
                hint = f"A letter stands for an item, as in any({name}.severity >= 4 for {name} in findings)."
            hint = hint or f"There are {', '.join(ROOTS)}."
        raise self.bad(tree, f"there is no `{name}`", hint)

    def attribute(self, tree: ast.Attribute) -> Node:
        dotted = _dotted(tree)
        if dotted in self.scope.fields and dotted.partition(".")[0] not in self.variables:
            return Extra(type=self.scope.fields[dotted], key=dotted, cost=30, path=dotted)
        base = self.expression(tree.value)
        if base.type.kind != "record":
            if base.type.kind == "list":
                raise self.bad(tree, f"a list has no `{tree.attr}`", f"Ask any(x.{tree.attr} … for x in {base.key}).")
            hint = f"Write {tree.attr}({self.shown(base)})." if tree.attr in FUNCTIONS else ""
            raise self.bad(tree, f"{base.type.describe()} has no attributes", hint)
        fields = RECORDS[base.type.record]
        found = fields.get(tree.attr)
        if found is None:
            own = [path.rpartition(".")[2] for path in self.scope.fields if path.rpartition(".")[0] == base.key]
            near = nearest(tree.attr, [*fields, *own])
            start, end = self.span(tree.value)
            hint = (
                near.replace("`", f"`{self.text[start:end]}.", 1) if near else f"It has {', '.join([*fields, *own])}."
            )
            if dotted in EVENT_TYPES:
                hint = f'Write "{dotted}", in quotes.'
            hint = PLACES.get(f"{base.type.record}.{tree.attr}", hint)
            raise self.bad(tree, f"{base.type.describe()} has no `{tree.attr}`", hint)
        costs = {"age": 250, "sha256": 300, "md5": 300, "pdq": 300, "on": 500, "field": 200}
        return Attribute(
            type=found.type,
            key=f"{base.key}.{tree.attr}",
            cost=base.cost + costs.get(tree.attr, 15),
            base=base,
            name=tree.attr,
            optional=found.optional,
            **self.sizes(tree, base),
        )

    def constant(self, tree: ast.Constant) -> Node:
        value = tree.value
        match value:
            case bool():
                return truth_constant(value=value)
            case str():
                if any("\ud800" <= char <= "\udfff" for char in value):
                    raise self.bad(tree, "not valid Unicode: a lone surrogate")
                return Constant(type=TEXT, key=_constant_key(value), value=value)
            case int() | float() if abs(value) <= 10**15 and math.isfinite(value):
                return Constant(type=Type("number", low=value), key=_constant_key(value), value=value)
            case int() | float():
                raise self.bad(tree, "a number beyond a million billions")
            case None:
                raise self._nothing(tree, negated=False)
            case _:
                raise self.bad(tree, "the rule language has texts, numbers, True and False")

    def items(self, tree: ast.List | ast.Tuple | ast.Set) -> Node:
        if isinstance(tree, ast.Tuple) and self.text[self.span(tree)[0]] != "(":
            raise self.bad(
                tree, "a comma outside of any brackets", "Join conditions by `and`, `or`; write 1000, not 1,000."
            )
        nodes = self.several(*tree.elts)
        if not nodes:
            raise self.bad(tree, "an empty list")
        for node, element in zip(nodes, tree.elts, strict=True):
            if not isinstance(node, Constant) or node.type.kind not in ("text", "number", "time", "duration"):
                raise self.bad(
                    element, "a list in a rule holds plain texts or numbers", "Join conditions by `or` instead."
                )
            if not node.type.like(nodes[0].type):
                raise self.bad(
                    element, f"the list begins with {nodes[0].type.describe()}, but this is {node.type.describe()}"
                )
        values = frozenset(node.value for node in nodes if isinstance(node, Constant))
        return Constant(
            type=Type("list", item=Type(nodes[0].type.kind)),
            key=f"[{', '.join(node.key for node in nodes)}]",
            value=values,
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    def call(self, tree: ast.Call) -> Node:
        if not isinstance(tree.func, ast.Name):
            if isinstance(tree.func, ast.Attribute):
                name = tree.func.attr
                base = ast.unparse(tree.func.value)
                hint = nearest(name, FUNCTIONS)
                if name in ("lower", "upper", "casefold"):
                    hint = "contains(…), word(…) and matches(…) ignore case anyway."
                elif name in FUNCTIONS:
                    hint = f"Write {name}({base}, …)."
                raise self.bad(tree.func, "values have no functions of their own", hint)
            raise self.bad(tree.func, "only the library's functions can be called")
        name = tree.func.id
        if name in QUANTIFIERS:
            return self.quantifier(tree, name)
        function = FUNCTIONS.get(name)
        if function is None:
            hint = ELSEWHERE.get(name.lower(), "") or nearest(name, [*FUNCTIONS, *QUANTIFIERS])
            hint = f"It is no function: write {name}." if name in ROOTS else hint
            hint = hint or "`redshank rules library` prints all there are."
            raise self.bad(tree.func, f"unknown function `{name}`", hint)
        if name == "list":
            return self.listed(tree, function)
        if name == "bank":
            return self.bank(tree, function)
        if name in ("count", "distinct"):
            return self.counter(tree, function)
        return self.library_call(tree, function)

    def library_call(self, tree: ast.Call, function: Function) -> Node:
        given = self._arguments(tree, function)
        values: list[Node] = []
        constants: dict[str, Any] = {}
        places: dict[str, list[ast.expr]] = {}
        keys: list[str] = []
        wrong = False
        for parameter in function.parameters:
            for argument in given.get(parameter.name, ()):
                try:
                    if parameter.constant:
                        new = self._constants(parameter, argument)
                        for name, place in new if parameter.name == "banks" else ():
                            self._check_bank(name, place)
                        constants.setdefault(parameter.name, []).extend(value for value, _ in new)
                        places.setdefault(parameter.name, []).extend(place for _, place in new)
                    else:
                        node = self.expression(argument)
                        self._check_argument(parameter, node, argument)
                        values.append(node)
                        keys.append(node.key)
                except _Bad:
                    wrong = True
            if parameter.constant and parameter.name in constants:
                found = constants[parameter.name]
                shown = ", ".join(_constant_key(value) for value in found)
                if parameter.keyword:
                    shown = f"{parameter.name}=({shown})" if len(found) > 1 else f"{parameter.name}={shown}"
                keys.append(shown)
                constants[parameter.name] = tuple(found) if parameter.many or parameter.several else found[0]
        if wrong:
            raise _Bad
        try:
            run = function.make(constants)
        except ArgumentError as found_error:
            raise self._argument_error(tree, found_error, places) from None
        key = f"{function.name}({', '.join(keys)})"
        if function.name == "language" and values[0].key in _WRITTEN:
            self.warn(tree.args[0], "this asks for the tag of a language, not for a text", "Such as post.language.")
        if not values and not function.implicit:
            value = run()
            return Constant(type=function.returns, key=key, value=value)
        if function.prepare:
            values = [self._prepared(tree, function.prepare, value) for value in values]
        implicit = [Root(type=ROOTS[root].type, key=root, cost=0, name=root) for root in function.implicit]
        return Call(
            type=function.returns,
            key=key,
            cost=function.cost + sum(value.cost for value in values),
            function=function,
            run=run,
            arguments=(*implicit, *values),
            constants=constants,
            **self.sizes(tree, *implicit, *values),
        )

    def _prepared(self, tree: ast.Call, name: str, value: Node) -> Node:
        function = PREPARATIONS[name]
        return Call(
            type=TEXT,
            key=f"{name}({value.key})",
            cost=function.cost + value.cost,
            function=function,
            run=function.make({}),
            arguments=(value,),
            **self.sizes(tree, value),
        )

    def _arguments(self, tree: ast.Call, function: Function) -> dict[str, list[ast.expr]]:
        given: dict[str, list[ast.expr]] = {}
        positional = [found for found in function.parameters if not found.keyword]
        keywords = {found.name: found for found in function.parameters if found.keyword}
        hint = f"It is called as {function.signature}, for example: {function.example}"
        place = 0
        for argument in tree.args:
            if isinstance(argument, ast.Starred):
                raise self.bad(argument, "the rule language does not have *")
            if place >= len(positional):
                raise self.bad(argument, f"`{function.name}` takes fewer arguments", hint)
            given.setdefault(positional[place].name, []).append(argument)
            place += 0 if positional[place].many else 1
        for keyword in tree.keywords:
            if keyword.arg not in keywords:
                named = keyword.arg or "**"
                raise self.bad(
                    keyword, f"`{function.name}` has no argument `{named}`", nearest(named, keywords) or hint
                )
            given[keyword.arg] = [keyword.value]
        missing = [found.name for found in positional if found.required and found.name not in given]
        if missing:
            raise self.bad(tree, f"`{function.name}` needs `{missing[0]}`", hint)
        return given

    def _constants(self, parameter: Parameter, argument: ast.expr) -> list[tuple[Any, ast.expr]]:
        if parameter.several and isinstance(argument, ast.List | ast.Tuple | ast.Set):
            out = []
            for element in argument.elts:
                out += self._constants(parameter, element)
            if not out:
                raise self.bad(argument, f"`{parameter.name}` names nothing")
            return out
        written = self.text[slice(*self.span(argument))]
        if _BARE.fullmatch(written) and parameter.types == (TEXT,) and re.split(r"\W", written)[0] not in self._known():
            raise self.bad(argument, f"`{parameter.name}` must stand in quotes", f'Write "{written}".')
        node = self.expression(argument)
        self._check_argument(parameter, node, argument)
        if not isinstance(node, Constant):
            raise self.bad(argument, f"`{parameter.name}` must stand in the rule itself, in quotes or in digits")
        if parameter.choices and node.value not in parameter.choices:
            hint = nearest(str(node.value), parameter.choices) or f"Known are {', '.join(parameter.choices)}."
            if parameter.name == "kind":
                self.warn(argument, f'no detector finds the kind "{node.value}": this never matches', hint)
            else:
                raise self.bad(argument, f'`{parameter.name}` is never "{node.value}"', hint)
        return [(node.value, argument)]

    def _known(self) -> Collection[str]:
        return {*ROOTS, *self.scope.known_names, *self.variables, "True", "False"}

    def _check_argument(self, parameter: Parameter, node: Node, at: ast.expr) -> None:
        if parameter.types and not any(type_.like(node.type) for type_ in parameter.types):
            wanted = " or ".join(type_.describe() for type_ in parameter.types)
            hint = ""
            if node.type.kind == "list" and parameter.types[0].kind == "text":
                hint = f"Ask any(… for x in {self.shown(node)})."
            elif parameter.choices:
                hint = f"It is one of {', '.join(map(_constant_key, parameter.choices))}."
            raise self.bad(at, f"expected {wanted}, but this is {node.type.describe()}", hint)

    def _argument_error(self, tree: ast.Call, error: ArgumentError, places: dict[str, list[ast.expr]]) -> _Bad:
        found = places.get(error.parameter) or [tree]
        at = found[min(error.index, len(found) - 1)]
        start, end = self.span(at)
        if error.at is not None:
            inner = self._inside(at, error.at)
            if inner is not None:
                start, end = inner
        self.fail(error.message, start, max(end, start + 1), error.hint)
        return _Bad()

    def _inside(self, at: ast.expr, span: tuple[int, int]) -> tuple[int, int] | None:
        """Where the characters `span` of a text constant stand, if it is written without escapes."""
        start, end = self.span(at)
        written = self.text[start:end]
        if not isinstance(at, ast.Constant) or not isinstance(at.value, str):
            return None
        offset = written.find(at.value)
        return None if offset < 0 else (start + offset + span[0], start + offset + span[1])

    def listed(self, tree: ast.Call, function: Function) -> Node:
        given = self._arguments(tree, function)
        ((name, at),) = self._constants(function.parameters[0], given["name"][0])
        values = self.scope.lists.get(name)
        if values is None:
            hint = (
                nearest(name, self.scope.lists)
                or "Lists stand under `lists:` in a rule file, or come with the installation."
            )
            self.warn(at, f'there is no list "{name}": what asks for it cannot be evaluated', hint)
        return Constant(type=TEXTS, key=f"list({_constant_key(name)})", value=values)

    def bank(self, tree: ast.Call, function: Function) -> Node:
        given = self._arguments(tree, function)
        ((name, at),) = self._constants(function.parameters[0], given["name"][0])
        self._check_bank(name, at, looked_up=True)
        if not any(tree is member for member in self._members):
            raise self.bad(tree, "a bank is only asked by `in`", f"For example: {function.example}")
        return Bank(type=TEXTS, key=f"bank({_constant_key(name)})", cost=function.cost, name=name)

    def _check_bank(self, name: str, at: ast.expr, *, looked_up: bool = False) -> None:
        from redshank.matching import ASKED  # Here, because its room takes time to load and most rules need it not.

        if self.scope.banks is None:
            return
        kind = self.scope.banks.get(name)
        if kind is None:
            hint = nearest(name, self.scope.banks) or "`redshank banks list` shows all there are."
            self.warn(at, f'there is no bank "{name[:100]}", or it is switched off', hint)
        elif looked_up and kind not in ASKED:
            self.warn(
                at, f'no text can be looked up in the bank "{name}", which is of kind {kind}', f'Ask matched("{name}").'
            )

    def counter(self, tree: ast.Call, function: Function) -> Node:
        given = self._arguments(tree, function)
        hint = f"It is called as {function.signature}, for example: {function.example}"
        for wanted in ("per", "over"):
            if wanted not in given:
                raise self.bad(tree, f"`{function.name}` needs `{wanted}=`", hint)
        ((over, _),) = self._constants(_parameter(function, "over"), given["over"][0])
        names = [name for name in ("per", "value", "where") if name in given]
        nodes = self.several(*(given[name][0] for name in names))
        parts: dict[str, Node] = dict(zip(names, nodes, strict=True))
        for name, node in parts.items():
            at = given[name][0]
            if node.type.kind == "record" and name != "where":
                field = "hashes(…)" if node.type.record == "media" else f"{node.key}.id"
                raise self.bad(
                    at, f"expected a text or a list of texts, but this is {node.type.describe()}", f"Such as {field}."
                )
            if node.key == "media":
                raise self.bad(
                    at, "expected a text or a list of texts, but this is a list of media", 'Such as hashes("sha256").'
                )
            self._check_argument(_parameter(function, name), node, at)
            if node.free:
                raise self.bad(
                    at,
                    "a counter cannot depend on the item of a loop",
                    "Give it the whole list: it tells the highest count.",
                )
            if any(isinstance(found, Counting) for found in walk(node)):
                raise self.bad(at, "a counter within a counter", "Join two counters by `and` instead.")
            if isinstance(node, Constant) and name != "where":
                raise self.bad(at, f"`{name}` is the same for every event", "Such as account.id.")
        per, value, where = parts["per"], parts.get("value"), parts.get("where")
        if isinstance(where, Constant):
            if where.value is False:
                self.warn(given["where"][0], "this counts nothing")
            where = where if where.value is False else None
        keys = [value.key] if value else []
        keys += [f"per={per.key}", f'over="{over}"']
        keys += [f"where={where.key}"] if where else []
        key = f"{function.name}({', '.join(keys)})"
        return Counting(
            type=function.returns,
            key=key,
            cost=function.cost,
            counter=counter_of(key, over=over, distinct=function.name == "distinct"),
            per=per,
            value=value,
            where=where,
            **self.sizes(tree, *(node for node in (per, value, where) if node is not None)),
        )

    def quantifier(self, tree: ast.Call, name: str) -> Node:
        example = QUANTIFIERS[name][2]
        if len(tree.args) != 1 or tree.keywords or not isinstance(tree.args[0], ast.GeneratorExp):
            raise self.bad(tree, f"`{name}` needs one condition with `for`", f"For example: {example}")
        generator = tree.args[0]
        if len(generator.generators) > 1:
            raise self.bad(generator, "one `for` at a time", f"Put another {name}(…) inside.")
        (clause,) = generator.generators
        if clause.ifs:
            hint = "Join it to the condition by `and`." if name == "any" else "Write all(not (…) or condition for …)."
            raise self.bad(clause.ifs[0], "no `if` after `for`", hint)
        if clause.is_async or not isinstance(clause.target, ast.Name):
            raise self.bad(clause.target, "expected one name after `for`", f"For example: {example}")
        variable = clause.target.id
        if (
            variable in ROOTS
            or variable in self.scope.known_names
            or variable in FUNCTIONS
            or variable in self.variables
        ):
            raise self.bad(clause.target, f"`{variable}` already means something else", "Take another name.")
        items = self.expression(clause.iter)
        if items.type.kind != "list" or items.type.item is None:
            raise self.bad(clause.iter, f"expected a list, but this is {items.type.describe()}")
        if isinstance(items, Constant) and items.value is not None and len(items.value) > 1000:
            raise self.bad(clause.iter, "a list of more than 1,000 items is too long to go through", "Use `in`.")
        bound = f"_{len(self.variables)}"
        self.variables[variable] = Variable(
            type=items.type.item, key=bound, cost=3, free=frozenset((bound,)), name=bound
        )
        try:
            body = self.truth(generator.elt)
        finally:
            shown = self.variables.pop(variable)
        sizes = self.sizes(tree, items, body)
        sizes["free"] = items.free | (body.free - {shown.name})
        return Quantifier(
            type=TRUTH,
            key=f"{name}({body.key} for {bound} in {items.key})",
            cost=items.cost + 300 + 5 * body.cost,
            op="any" if name == "any" else "all",
            variable=bound,
            items=items,
            body=body,
            **sizes,
        )


def reckon(op: Operation, left: Any, right: Any) -> Any:
    """`left op right`; None where that has no answer: a division by zero, a number or time out of range."""
    try:
        match op:
            case "+":
                value = left + right
            case "-":
                value = left - right
            case "*":
                value = left * right
            case "/":
                value = left / right
            case "%":
                value = left % right
    except (ArithmeticError, ValueError, TypeError):  # A TypeError: one time with a zone and one without.
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def asks_for_passing(node: Node) -> bool:
    """Whether a tree asks for `event.type`, and so decides itself which types of event it is about."""
    stack = [node]
    while stack:
        found = stack.pop()
        if found.key == "event.type":
            return True
        stack.extend(found.children)
    return False


def _parameter(function: Function, name: str) -> Parameter:
    return next(found for found in function.parameters if found.name == name)


def _decide(op: Comparison, left: Any, right: Any) -> bool:
    match op:
        case "==":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case ">=":
            return bool(left >= right)
        case "in":
            return left in right
        case "not in":
            return left not in right


def _wrap(node: Node) -> str:
    """The node's key, in brackets where it would read otherwise."""
    return f"({node.key})" if isinstance(node, Logic | Compare | Arithmetic | Choice | Not) else node.key


def _constant_key(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, timedelta):
        return f"days({value / timedelta(days=1)})"
    if isinstance(value, datetime):
        return f'time("{value.isoformat()}")'
    return str(value)


def _dotted(tree: ast.Attribute) -> str:
    parts = [tree.attr]
    value = tree.value
    while isinstance(value, ast.Attribute):
        parts.append(value.attr)
        value = value.value
    return ".".join([value.id, *reversed(parts)]) if isinstance(value, ast.Name) else ""
