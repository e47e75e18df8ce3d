"""A checked expression: a small tree whose nodes know their type, their source text and what they cost.

Three-valued throughout: every value can be missing, and truth values follow Kleene (`missing or True` is True,
`missing and False` is False, anything else with a missing part is missing). Nodes have no effects and cannot fail, so
operands of `and` and `or` may be evaluated in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from redshank.rules.schema import TRUTH, Type

if TYPE_CHECKING:
    from redshank.rules.counting import Counter
    from redshank.rules.library import Function

Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Operation = Literal["+", "-", "*", "/", "%"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Node:
    """`key` is the expression in one canonical spelling: equal keys mean equal values. `cost` is in rough nanoseconds.

    `free` are the loop variables that it needs from outside.
    """

    type: Type
    key: str
    cost: float = 0
    free: frozenset[str] = frozenset()
    size: int = 1
    depth: int = 1

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes it is made of."""
        return ()


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Constant(Node):
    """A value that stands in the rule, or a list; `value` is None where the list does not exist."""

    value: Any


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Bank(Node):
    """What a bank holds now. It stands only at the right of `in`: what is asked of it is looked up, never gone through."""

    name: str


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Root(Node):
    """One of the names at the top: `event`, `post`, `findings`, …"""

    name: str


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Variable(Node):
    """The variable of an `any` or `all`."""

    name: str


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Attribute(Node):
    """`base.name`, where the schema has it."""

    base: Node
    name: str
    optional: bool

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return (self.base,)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Extra(Node):
    """A declared field: `event.extra[path]`, missing where it is absent or of another type."""

    path: str


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Call(Node):
    """A function of the library, its constant arguments already worked into `run`."""

    function: Function
    run: Callable[..., Any]
    arguments: tuple[Node, ...]
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return self.arguments


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Compare(Node):
    """One comparison; a chain is an `and` of several."""

    op: Comparison
    left: Node
    right: Node

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return (self.left, self.right)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Arithmetic(Node):
    """An operation on numbers, times and durations; missing where it has no answer, such as a division by zero."""

    op: Operation
    left: Node
    right: Node

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return (self.left, self.right)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Logic(Node):
    """`and` or `or` of two or more."""

    op: Literal["and", "or"]
    operands: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return self.operands


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Not(Node):
    """`not operand`."""

    operand: Node

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return (self.operand,)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Choice(Node):
    """`yes if test else no`; missing where the test is."""

    test: Node
    yes: Node
    no: Node

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return (self.test, self.yes, self.no)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Quantifier(Node):
    """`any(body for variable in items)`, or `all`; over nothing, `any` is False and `all` is True."""

    op: Literal["any", "all"]
    variable: str
    items: Node
    body: Node

    @property
    def children(self) -> tuple[Node, ...]:  # noqa: D102 - as above
        return (self.items, self.body)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Counting(Node):
    """What a counter says of the event's key. Counters are asked before the rules are, so it has no children; `parts` has
    what the counter itself looks at."""

    counter: Counter
    per: Node
    value: Node | None
    where: Node | None

    @property
    def parts(self) -> tuple[Node, ...]:
        """Its key, its value and its condition, where it has them."""
        return tuple(part for part in (self.per, self.value, self.where) if part is not None)


def measure(*children: Node) -> dict[str, Any]:
    """The sums over `children` that a node above them is made with."""
    return {
        "free": frozenset().union(*(child.free for child in children)),
        "size": 1 + sum(child.size for child in children),
        "depth": 1 + max((child.depth for child in children), default=0),
    }


def banks_of(node: Node) -> frozenset[str]:
    """The banks that `in` asks below `node`, by what counters look at as well."""
    return frozenset(found.name for found in walk(node, counters=True) if isinstance(found, Bank))


def truth_constant(*, value: bool) -> Constant:
    """True or False as a node."""
    return Constant(type=TRUTH, key=str(value), value=value)


def walk(node: Node, *, counters: bool = False) -> Iterator[Node]:
    """`node` and all below it; with `counters`, also what its counters look at."""
    stack = [node]
    while stack:
        found = stack.pop()
        yield found
        stack.extend(found.children)
        if counters and isinstance(found, Counting):
            stack.extend(found.parts)
