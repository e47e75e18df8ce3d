"""The rule language a second time: slow, plain, on Python's own syntax tree, with nothing shared, reordered or left out.

What the compiled rules are held against. None is missing; `and`, `or` and `not` are Kleene's.
"""

from __future__ import annotations

import ast
import math
import operator
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import re2

from redshank.core import Frames, MediaUploaded
from redshank.rules.schema import PASSING
from redshank.text import find_links, fold, normalize_link
from tests.rules.making import BANKS

COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


def evaluate(text, facts, lists=None, before=()):
    """The value of an expression: True, False or None for a truth value. `before` are the facts of what came before."""
    return _Reference(facts, lists or {}, before).value(ast.parse(text, mode="eval").body, {})


class _Bank:
    """What a bank of `making` holds, one by one."""

    known: ClassVar = {}

    def __init__(self, kind, values):
        self.kind, self.values = kind, values

    def __contains__(self, text):
        return any(self.names(text, value) for value in self.values)

    def names(self, text, value):
        link = normalize_link(text)
        match self.kind:
            case "domain":
                return link is not None and f".{link.host}".endswith(f".{value}")
            case "url":
                return link is not None and (
                    link.url == value or (value.endswith("*") and link.url.startswith(value[:-1]))
                )
            case "name":
                return "".join(char for char in fold(text).text if char.isalnum()) == value
            case "term":
                return fold(text).text.strip() == value
        return text.lower() == value


_Bank.known = {name: _Bank(bank.kind, bank.values) for name, bank in BANKS.items() if bank.kind != "pdq"}


SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}


class _Reference:
    def __init__(self, facts, lists, before=()):
        self.facts = facts
        self.lists = lists
        self.before = before

    def value(self, tree, variables):
        value = lambda node: self.value(node, variables)  # noqa: E731
        match tree:
            case ast.BoolOp(op=ast.And()):
                found = [value(node) for node in tree.values]
                return False if False in found else None if None in found else True
            case ast.BoolOp():
                found = [value(node) for node in tree.values]
                return True if True in found else None if None in found else False
            case ast.UnaryOp(op=ast.Not()):
                found = value(tree.operand)
                return None if found is None else not found
            case ast.UnaryOp():
                found = value(tree.operand)
                return None if found is None else -found
            case ast.Compare():
                nodes = [value(node) for node in (tree.left, *tree.comparators)]
                parts = [
                    None if left is None or right is None else COMPARE[type(op)](left, right)
                    for op, left, right in zip(tree.ops, nodes[:-1], nodes[1:], strict=True)
                ]
                return False if False in parts else None if None in parts else True
            case ast.BinOp():
                left, right = value(tree.left), value(tree.right)
                if left is None or right is None:
                    return None
                try:
                    out = ARITHMETIC[type(tree.op)](left, right)
                except ArithmeticError:
                    return None
                return None if isinstance(out, float) and not math.isfinite(out) else out
            case ast.IfExp():
                test = value(tree.test)
                return None if test is None else value(tree.body) if test else value(tree.orelse)
            case ast.Constant():
                return tree.value
            case ast.List() | ast.Tuple():
                return [value(node) for node in tree.elts]
            case ast.Name():
                return variables[tree.id] if tree.id in variables else self.root(tree.id)
            case ast.Attribute():
                base = value(tree.value)
                return None if base is None else self.attribute(base, tree.attr)
            case ast.Call():
                return self.call(tree, variables)
        raise AssertionError(ast.dump(tree))

    def root(self, name):
        event = self.facts.event
        if name == "event":
            return event
        if name == "findings":
            return self.facts.findings
        if name == "now":
            return self.facts.now
        if name == "ties":
            return self.facts.ties if getattr(event, "account", None) or hasattr(event, "report") else None
        if name == "media":
            post = getattr(event, "post", None)
            out = list(post.media) if post else []
            if isinstance(event, MediaUploaded):
                out.append(event.media)
            for account in (getattr(event, "account", None), getattr(event, "followed", None)):
                out += [item for item in (account.avatar, account.banner) if item] if account else []
            return out
        return getattr(event, name, None)

    def attribute(self, base, name):
        event = self.facts.event
        if base is event and name == "type":
            return type(event).__struct_config__.tag
        if name == "labels":
            return self.facts.account_labels
        if name == "age":
            if base.created_at is None:
                return None
            age = event.at - base.created_at
            if age < timedelta(hours=-24):
                return None
            return max(age, timedelta(0))
        if hasattr(base, "detector"):
            where = base.where
            field = f"media:{where.media}" if isinstance(where, Frames) else where.field
            if name == "field":
                return field
            if name == "on":
                return self.part(field)
            if name in ("bank", "policy", "severity", "label", "source", "confirmed", "distance"):
                return getattr(base.match, name) if base.match else None
        if name in ("sha256", "md5", "pdq"):
            reckoned = getattr(self.facts.media.get(base.id), name, None)
            out = reckoned or getattr(base, name)
            return out.lower() if out else None
        return getattr(base, name, None)

    def part(self, field):
        event = self.facts.event
        if not field.startswith("media:"):
            part = field.split(".")[0]
            return part if part in ("account", "followed", "post", "media", "report") else None
        wanted = field.removeprefix("media:")
        post = getattr(event, "post", None)
        if post and wanted in [item.id for item in post.media]:
            return "post"
        if isinstance(event, MediaUploaded) and event.media.id == wanted:
            return "media"
        for part in ("account", "followed"):
            account = getattr(event, part, None)
            if account and wanted in [item.id for item in (account.avatar, account.banner) if item]:
                return part
        return None

    def call(self, tree, variables):
        name = tree.func.id
        if name in ("any", "all"):
            (generator,) = tree.args
            (clause,) = generator.generators
            items = self.value(clause.iter, variables)
            if items is None:
                return None
            found = [self.value(generator.elt, {**variables, clause.target.id: item}) for item in items]
            if name == "any":
                return True if True in found else None if None in found else False
            return False if False in found else None if None in found else True
        if name in ("count", "distinct"):
            return self.counted(name, tree)
        if name == "bank":
            return _Bank.known.get(tree.args[0].value)
        arguments = [self.value(node, variables) for node in tree.args]
        keywords = {keyword.arg: self.value(keyword.value, variables) for keyword in tree.keywords}
        if name == "known":
            return arguments[0] is not None
        if name in ("matched", "severity"):
            chosen = [finding for finding in self.facts.findings if self.is_meant(finding, arguments, keywords)]
            if name == "matched":
                return bool(chosen)
            return max((finding.match.severity for finding in chosen), default=0)
        if None in arguments:
            return None
        match name, arguments:
            case "contains", [text, *words]:
                return any(fold(word).text in fold(text).text for word in words)
            case "word", [text, *words]:
                return any(self.stands(fold(word).text, fold(text).text) for word in words)
            case "matches", [text, pattern]:
                return re2.search(f"(?i){pattern}", text.encode("utf-8", "replace")) is not None
            case "script", [text, script]:
                return re2.search(rf"\p{{{script}}}", text.encode("utf-8", "replace")) is not None
            case "language", [tag, *tags]:
                return any(f"{tag}-".lower().startswith(f"{wanted}-".lower()) for wanted in tags)
            case "domain", [link]:
                return self.domain(link)
            case "domains", [links]:
                return list(dict.fromkeys(host for link in links if (host := self.domain(link)) is not None))
            case "links_in", [text]:
                return [link for _, _, link in find_links(text)]
            case "len", [items]:
                return len(items)
            case "tokens", [purpose]:
                account = getattr(self.facts.event, "account", None)
                return account and [token for token in account.tokens if token.split(":")[0] == purpose]
            case "hashes", [wanted]:
                found = [self.attribute(item, wanted) for item in self.root("media")]
                return [value for value in found if value is not None]
            case "list", [wanted]:
                return self.lists.get(wanted)
            case "time", [text]:
                return datetime.fromisoformat(text).replace(tzinfo=UTC)
            case (("minutes" | "hours" | "days" | "weeks"), [number]):
                return timedelta(**{name: number})
        raise AssertionError(name)

    def counted(self, name, tree):
        """Goes through all that came before, and itself, once for every key."""
        parts = {keyword.arg: keyword.value for keyword in tree.keywords}
        keys = self.texts(self.value(parts["per"], {}))
        if keys is None:
            return None
        highest, event = 0, self.facts.event
        span = SPANS[parts["over"].value]
        for key in keys:
            found = []
            for facts in (*self.before, self.facts):
                other = _Reference(facts, self.lists)
                if facts.event.network != event.network or not event.at - span < facts.event.at <= event.at:
                    continue
                asks_type = "where" in parts and "event.type" in ast.unparse(parts["where"])
                if not asks_type and type(facts.event).__struct_config__.tag in PASSING:
                    continue
                if "where" in parts and other.value(parts["where"], {}) is not True:
                    continue
                if key not in (other.texts(other.value(parts["per"], {})) or ()):
                    continue
                found += ["one"] if name == "count" else other.texts(other.value(tree.args[0], {})) or ()
            highest = max(highest, len(found) if name == "count" else len(set(found)))
        return highest

    @staticmethod
    def domain(link):
        found = normalize_link(link)
        return found.host.removeprefix("www.") if found else None

    @staticmethod
    def texts(value):
        return [value] if isinstance(value, str) else value

    @staticmethod
    def stands(word, text):
        at = text.find(word)
        while at >= 0:
            before, after = text[at - 1 : at] if at else "", text[at + len(word) : at + len(word) + 1]
            if not (before.isalnum() and word[0].isalnum()) and not (after.isalnum() and word[-1].isalnum()):
                return True
            at = text.find(word, at + 1)
        return False

    def is_meant(self, finding, banks, keywords):
        match = finding.match
        if match is None or (banks and match.bank not in banks) or match.severity < keywords.get("severity", 0):
            return False
        if keywords.get("confirmed", match.confirmed) != match.confirmed:
            return False
        field = self.attribute(finding, "field")
        given = {"kind": finding.kind, "policy": match.policy, "label": match.label, "on": self.part(field)}
        for name, value in given.items():
            wanted = keywords.get(name)
            if wanted is not None and value not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True
