"""A checked condition as SQL over the columns of the past, three-valued exactly as the language is.

SQL's NULL is the language's missing: its `and`, `or` and `not` are Kleene's, too. What SQL can say word for word it
answers alone; of the rest it is told what must hold where the condition is True, and the compiled rule looks only at the
rows that this leaves. What a bank holds only Python can say: it is asked once for each text that there is. Times and durations are whole microseconds here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from redshank.rules.library import FUNCTIONS, folded_terms
from redshank.rules.schema import MAX_SKEW_HOURS, VALUE_PARTS
from redshank.rules.tree import (
    Arithmetic,
    Attribute,
    Bank,
    Call,
    Choice,
    Compare,
    Constant,
    Extra,
    Logic,
    Node,
    Not,
    Quantifier,
    Root,
    Variable,
    walk,
)

MAX_LITERALS = 1_000
"""Items of a list that stand in the query itself; a longer one becomes a table."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""What a calendar can hold, the years 1 to 9999, in microseconds from 1970."""
_EMPTY_TEXTS = ("post.text", "report.text")
"""Texts that are empty, not missing, where their part has none."""
_ALWAYS = {
    "event.type": "type",
    "event.network": "network",
    "event.id": "id",
    "event.at": 'epoch_us("at")',
    "account.id": "nullif(account, '')",
    "now": "epoch_us(received_at)",
}
_SINCE_2 = {
    "account.created_at": "epoch_us(created_at)",
    "account.followers": "followers",
    "post.language": "language",
    "post.links": "links",
    "domains(post.links)": "list_distinct(domains)",
}
_FOLDED = {"post.text": "text", "account.handle": "handle", "account.display_name": "name", "account.bio": "bio"}


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """Texts that are looked up in `bank`: `texts` is a list of all that a row has, as SQL.

    The enumeration `held` is to hold, before the condition is asked, those that the bank holds: looked up by hash.
    """

    bank: str
    texts: str
    held: str


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """A condition as SQL. `where` holds on every row for which the condition is True; where `exact`, on no other.

    `lists` are the tables that it asks, by name, each with one column `item`; a list has the same name whatever asks it.
    `lookups` are what it asks of banks; where `before` does not hold of a row, none of its texts matters.
    """

    where: str
    exact: bool
    lists: dict[str, frozenset[str]]
    lookups: tuple[LookUp, ...] = ()
    before: str = "true"


def push_down(tree: Node, tags: Collection[str], layout: int, banks: Collection[str] = ()) -> Pushed:
    """The SQL of `tree` over files of a layout of the past, for events of the types `tags`.

    `banks` are those in which texts can be looked up; others are missing.
    """
    writer = _Writer(layout, banks)
    types = f"type IN ({', '.join(map(_text, sorted(tags)))})" if tags else "false"
    exact = writer.true(tree)
    where = exact if exact is not None else writer.needed(tree)
    lookups = tuple(one for one in writer.lookups.values() if one.held in where)
    narrow = _Writer(layout, None)
    before = narrow.needed(tree) if lookups else "true"
    return Pushed(
        where=f"{types} AND ({where})", exact=exact is not None, lists=writer.lists | narrow.lists,
        lookups=lookups, before=f"{types} AND ({before})",
    )  # fmt: skip


class _Writer:
    """Without `banks` it cannot say what is looked up in any."""

    def __init__(self, layout: int, banks: Collection[str] | None) -> None:
        self.columns = _ALWAYS | _SINCE_2 if layout >= 2 else _ALWAYS
        self.folded = _FOLDED if layout >= 2 else {}
        self.lists: dict[str, frozenset[str]] = {}
        self.banks = banks
        self.lookups: dict[str, LookUp] = {}
        self.loops: list[tuple[str, str]] = []
        """Loops that what is written stands in: what they go through, and their variables."""
        self.hosts: set[str] = set()
        """Loop variables that stand for the domain of a link, not for the link."""

    # ── What must hold ─────────────────────────────────────────────────────────────────────────────────────────────

    def needed(self, node: Node) -> str:
        """What holds on every event on which `node` is True."""
        exact = self.true(node)
        if exact is not None:
            return exact
        match node:
            case Logic(op=op, operands=operands):
                return f"({f' {op.upper()} '.join(map(self.needed, operands))})"
            case Quantifier(op="any", items=Root(name="findings")):
                return "verdict <> ''"
            case Quantifier(op="any") if (found := self._items(node) or self.sql(node.items)) is not None:
                return f"len({found}) > 0"
            case Compare(op=op, left=Call() as call, right=Constant(value=limit)) if call.function.name == "severity":
                return "true" if _holds_for_nothing(op, limit) else "verdict <> ''"
            case Call() if node.function.name == "matched":
                return (
                    _has_any("banks", node.constants.get("banks", ())) if "banks" in node.constants else "verdict <> ''"
                )
            case Call() if node.function.name == "word":
                return self._contains(node) or "true"
            case _:
                return "true"

    def true(self, node: Node) -> str | None:
        """What holds where `node` is True and nowhere else, be it NULL where that is missing; None where SQL cannot say it."""
        match node:
            case Logic(op=op, operands=operands):
                parts = [self.true(operand) for operand in operands]
                return None if None in parts else f"({f' {op.upper()} '.join(filter(None, parts))})"
            case Quantifier(op="any"):
                found = self._each(node, self.true)
                return None if found is None else f"list_contains({found[1]}, true)"
            case Compare(op="in", left=left, right=Bank(name=name)) if (item := self.sql(left)) is not None:
                return self._is_held(item, name)
            case _:
                return self.sql(node)

    # ── Word for word ──────────────────────────────────────────────────────────────────────────────────────────────

    def sql(self, node: Node) -> str | None:
        """`node` as SQL, NULL where it is missing; None where SQL cannot say it."""
        known = self.columns.get(node.key)
        if known is not None:
            return known
        match node:
            case Constant():
                return self._constant(node)
            case Variable(name=name):
                return None if name in self.hosts else name
            case Attribute():
                return self._attribute(node)
            case Extra():
                return self._extra(node)
            case Call():
                return self._call(node)
            case Compare():
                return self._compare(node)
            case Arithmetic():
                return self._arithmetic(node)
            case Logic(op=op, operands=operands):
                return self._all(operands, lambda *parts: f"({f' {op.upper()} '.join(parts)})")
            case Not(operand=operand):
                return self._all((operand,), lambda part: f"(NOT {part})")
            case Choice(test=test, yes=yes, no=no) if node.type.kind not in ("list", "record"):
                return self._all(
                    (test, yes, no), lambda a, b, c: f"(CASE WHEN {a} IS NULL THEN NULL WHEN {a} THEN {b} ELSE {c} END)"
                )
            case Quantifier():
                return self._quantifier(node)
            case _:
                return None

    def _all(self, nodes: Collection[Node], join: Callable[..., str]) -> str | None:
        parts = [self.sql(node) for node in nodes]
        return None if None in parts else join(*parts)

    def _constant(self, node: Constant) -> str | None:
        value = node.value
        if isinstance(value, frozenset):
            items = self._literals(value)
            return None if items is None else f"[{', '.join(items)}]"
        return _literal(value)

    def _literals(self, values: frozenset[Any]) -> list[str] | None:
        if len(values) > MAX_LITERALS:
            return None
        items = [_literal(value) for value in sorted(values)]
        return None if None in items else [item for item in items if item is not None]

    def _attribute(self, node: Attribute) -> str | None:
        path = _path(node)
        if path is None:
            return None
        if node.key == "account.age":
            created = self.columns.get("account.created_at")
            if created is None:
                return None
            age, skew = f'(epoch_us("at") - {created})', MAX_SKEW_HOURS * 3_600_000_000
            return f"(CASE WHEN {age} >= 0 THEN {age} WHEN {age} >= -{skew} THEN 0 END)"
        text = f"json_extract_string(body, {_text('$.' + path)})"
        match node.type.kind:
            case "text" if node.base.type.record == "media" and node.name in ("sha256", "md5", "pdq"):
                return f"lower({text})"
            case "text" if node.key in _EMPTY_TEXTS:
                return f"(CASE WHEN {self._is_there(node.base)} THEN coalesce({text}, '') END)"
            case "text" if node.name not in ("type", "labels"):
                return text
            case "truth":
                return f"({text} = 'true')"
            case "number":
                return f"TRY_CAST({text} AS HUGEINT)"
            case "list" if node.type.item is not None and node.type.item.kind == "text" and node.name != "labels":
                return f"(CASE WHEN {self._is_there(node.base)} THEN json_extract_string(body, {_text(f'$.{path}[*]')}) END)"
            case _:
                return None

    def _is_there(self, node: Node) -> str | None:
        """Whether a part of the event is there."""
        if node.key == "account":
            return "(account <> '')"
        if node.key == "post" and "post.text" in self.folded:
            return "(text IS NOT NULL)"
        path = _path(node)
        return None if path is None else f"coalesce(json_exists(body, {_text('$.' + path)}), false)"

    def _extra(self, node: Extra) -> str | None:
        kind = {"text": "VARCHAR", "truth": "BOOLEAN"}.get(node.type.kind)
        if kind is None:
            return None
        path = _text(f'$.extra."{node.path}"')
        value = f"json_extract_string(body, {path})"
        return f"(CASE json_type(body, {path}) WHEN '{kind}' THEN {value if kind == 'VARCHAR' else f'{value} = ' + _text('true')} END)"

    def _call(self, node: Call) -> str | None:
        match node.function.name:
            case "known":
                (value,) = node.arguments
                if value.type.kind == "record":
                    return self._is_there(value)
                return self._all((value,), lambda found: f"({found} IS NOT NULL)")
            case "contains":
                return self._contains(node)
            case "matches":
                return self._matches(node, node.constants["pattern"])
            case "script":
                return self._matches(node, rf"\p{{{node.constants['name']}}}")
            case "language":
                return self._language(node)
            case "len":
                (value,) = node.arguments
                function = "len" if value.type.kind == "list" else "length"
                return self._all((value,), lambda found: f"{function}({found})")
            case "domain":
                (value,) = node.arguments
                return value.name if isinstance(value, Variable) and value.name in self.hosts else None
            case _:
                return None

    def _contains(self, node: Call) -> str | None:
        (folded,) = node.arguments
        column = self.folded.get(folded.children[0].key)
        terms = [_literal(term) for term in folded_terms(node.constants["words"])]
        if column is None or None in terms:
            return None
        return f"({' OR '.join(f'contains({column}, {term})' for term in terms)})"

    def _matches(self, node: Call, pattern: str) -> str | None:
        literal = _literal(pattern)
        if literal is None or not _is_pattern(pattern):
            return None
        (encoded,) = node.arguments
        return self._all(encoded.children, lambda text: f"regexp_matches({text}, {literal}, 'i')")

    def _language(self, node: Call) -> str | None:
        wanted = [tag.lower().replace("_", "-") for tag in node.constants["tags"]]
        if not all(tag.isascii() and _literal(tag) for tag in wanted):
            return None

        def is_one(tag: str) -> str:
            # Only what is written in ASCII can be one of them, but for the sign of kelvin, whose lower case is a k.
            plain = f"replace({tag}, '\u212a', 'k')"
            begins = " OR ".join(
                f"starts_with(concat(lower(replace({plain}, '_', '-')), '-'), {_text(want + '-')})" for want in wanted
            )
            return f"(CASE WHEN {tag} IS NOT NULL THEN strlen({plain}) = length({plain}) AND ({begins}) END)"

        return self._all(node.arguments, is_one)

    def _compare(self, node: Compare) -> str | None:
        left, op, right = node.left, node.op, node.right
        if op in ("in", "not in"):
            found = self._is_in(left, right)
            return found if found is None or op == "in" else f"(NOT {found})"
        sign = {"==": "=", "!=": "<>"}.get(op, op)
        return self._all((left, right), lambda a, b: f"({a} {sign} {b})")

    def _is_in(self, left: Node, right: Node) -> str | None:
        item = self.sql(left)
        if item is None:
            return None
        if isinstance(right, Bank):
            held = self._is_held(item, right.name)
            return None if held is None else f"(CASE WHEN {item} IS NOT NULL THEN {held} END)"
        if not isinstance(right, Constant):
            return self._all(
                (right,),
                lambda items: (
                    f"(CASE WHEN {items} IS NOT NULL AND {item} IS NOT NULL THEN list_contains({items}, {item}) END)"
                ),
            )
        if right.value is None:
            return "CAST(NULL AS BOOLEAN)"
        if not right.value:
            return f"(CASE WHEN {item} IS NOT NULL THEN false END)"
        literals = self._literals(right.value)
        if literals is not None:
            return f"({item} IN ({', '.join(literals)}))"
        if self.loops or right.type.item is None or right.type.item.kind != "text":
            return None
        name = f"list_{hashlib.sha256(right.key.encode()).hexdigest()[:16]}"
        self.lists[name] = right.value
        return f"(CASE WHEN {item} IS NOT NULL THEN {item} IN (SELECT item FROM {name}) END)"  # noqa: S608 - a name of ours

    def _is_held(self, item: str, bank: str) -> str | None:
        """Whether a bank holds an item; of one that is missing, anything but true."""
        if self.banks is None:
            return None
        if bank not in self.banks:
            return "CAST(NULL AS BOOLEAN)"
        texts = f"[{item}]"
        for number, (items, variable) in enumerate(reversed(self.loops)):
            one = item if number == 0 else texts
            each = items if one == variable else f"list_transform({items}, lambda {variable}: {one})"
            texts = each if number == 0 else f"flatten({each})"
        held = f"held_{hashlib.sha256(f'{bank} {texts}'.encode()).hexdigest()[:16]}"
        self.lookups[held] = LookUp(bank=bank, texts=texts, held=held)
        return f"(TRY_CAST({item} AS {held}) IS NOT NULL)"

    def _arithmetic(self, node: Arithmetic) -> str | None:
        kinds = {node.type.kind, node.left.type.kind, node.right.type.kind}
        if node.op not in ("+", "-") or not kinds <= {"time", "duration"}:
            return None  # Python's numbers know no bounds, so SQL's are not theirs.
        plain = self._all((node.left, node.right), lambda a, b: f"({a} {node.op} {b})")
        if plain is None or node.type.kind == "duration":
            return plain
        return f"(CASE WHEN {plain} BETWEEN {_FIRST} AND {_LAST} THEN {plain} END)"

    def _quantifier(self, node: Quantifier) -> str | None:
        found = self._each(node, self.sql)
        if found is None:
            return None
        items, each = found
        decided = "true" if node.op == "any" else "false"
        return (
            f"(CASE WHEN {items} IS NULL THEN NULL WHEN list_contains({each}, {decided}) THEN {decided} "
            f"WHEN list_count({each}) < len({items}) THEN NULL ELSE NOT {decided} END)"
        )

    def _each(self, node: Quantifier, say: Callable[[Node], str | None]) -> tuple[str, str] | None:
        """What a quantifier goes through, and a list of what `say` makes of its body for each of that."""
        items = self._items(node)
        if items is None:
            return None
        self.loops.append((items, node.variable))
        if _takes_hosts(node):
            self.hosts.add(node.variable)
        body = say(node.body)
        self.loops.pop()
        self.hosts.discard(node.variable)
        return None if body is None else (items, f"list_transform({items}, lambda {node.variable}: {body})")

    def _items(self, node: Quantifier) -> str | None:
        """What a quantifier goes through: texts, or the domains of links where it asks for nothing else of them."""
        if _takes_hosts(node):
            has = "domains(post.links)" in self.columns and node.items.key == "post.links"
            return "domains" if has else None
        of_texts = node.items.type.item is not None and node.items.type.item.kind == "text"
        return self.sql(node.items) if node.type.kind == "truth" and of_texts else None


def _path(node: Node) -> str | None:
    """Where in the event's JSON a part or an attribute stands; None where it is not in it as such."""
    if isinstance(node, Root):
        return node.name if node.name in VALUE_PARTS else "" if node.name == "event" else None
    if not isinstance(node, Attribute):
        return None
    base = _path(node.base)
    return None if base is None else f"{base}.{node.name}" if base else node.name


def _takes_hosts(node: Quantifier) -> bool:
    """Whether all that the body asks of the items is their domain."""
    uses = [found for found in walk(node.body) if isinstance(found, Variable) and found.name == node.variable]
    asked = [
        found
        for found in walk(node.body)
        if isinstance(found, Call) and found.function is FUNCTIONS["domain"] and found.arguments[0] in uses
    ]
    return bool(asked) and len(asked) == len(uses)


def _has_any(column: str, names: Collection[str]) -> str:
    literals = [_literal(name) for name in names]
    return "true" if None in literals else f"list_has_any({column}, [{', '.join(filter(None, literals))}])"


def _holds_for_nothing(op: str, limit: Any) -> bool:
    """Whether a severity of 0 meets `op limit`."""
    match op:
        case "==":
            return bool(limit == 0)
        case "!=":
            return bool(limit != 0)
        case "<":
            return bool(limit > 0)
        case "<=":
            return bool(limit >= 0)
        case ">":
            return bool(limit < 0)
        case ">=":
            return bool(limit <= 0)
        case _:
            return True


def _literal(value: Any) -> str | None:
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case str():
            return None if "\0" in value else _text(value)
        case int():
            return f"({value})"
        case float():
            return f"CAST('{value!r}' AS DOUBLE)"
        case timedelta():
            return f"({value // _MICROSECOND})"
        case datetime():
            return f"({(value - _EPOCH) // _MICROSECOND})"
        case _:
            return None


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@lru_cache(1000)
def _is_pattern(pattern: str) -> bool:
    """Whether DuckDB's RE2 takes a pattern that ours took: it is of another age."""
    import duckdb

    try:
        with duckdb.connect(":memory:") as database:
            database.execute("SELECT regexp_matches(x, ?, 'i') FROM (VALUES ('')) AS t(x)", [pattern]).fetchall()
    except duckdb.Error:
        return False
    return True
