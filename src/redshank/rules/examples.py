"""Events that a rule must fire on, and events it must stay silent on, written beside it in a few words.

An example names only what matters (`post: {text: join the march}`); the rest is filled in. Events of other shapes are
adopted in the same way: what the schema does not have moves into `extra`, where the file declares it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import yaml.nodes
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from redshank.core import BankTexts, Event, Finding, Match, Tie, Whole
from redshank.rules.counting import MOST, alone
from redshank.rules.diagnostics import nearest
from redshank.rules.explain import Explainer
from redshank.rules.mistakes import PARTS
from redshank.rules.ruleset import Facts, Holds, Rule, RuleSet
from redshank.rules.schema import BY_CLASS, RECORDS
from redshank.rules.source import Source, span_of
from redshank.rules.tree import banks_of

if TYPE_CHECKING:
    from redshank.rules.loader import LoadedRule

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
"""When examples happen, unless they say otherwise."""
_AGE = re.compile(r"(\d{1,6})\s*(min|minutes?|h|hours?|d|days?)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_FINDING = (
    "bank", "kind", "severity", "policy", "label", "source", "confirmed", "distance", "score", "seen", "on", "detector",
)  # fmt: skip
_BESIDE = ("labels", "findings", "ties", "counts", "banks")
_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One example, complete. `line` is where it stands in its file.

    `counts` is what all counters of the rule say, or what single ones do, by their numbers; others count this event alone.
    `banks` has what banks hold, by name; others hold nothing.
    """

    event: Event
    findings: tuple[Finding, ...]
    labels: frozenset[str]
    ties: tuple[Tie, ...] | None
    counts: int | Mapping[int, int]
    banks: Mapping[str, BankTexts]
    line: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """An example that came out otherwise than it should: `fired` says what it did, `values` why."""

    rule: str
    file: str
    line: int
    fired: bool
    values: tuple[str, ...]

    def render(self) -> str:
        """As a person reads it."""
        said = "fires on an example of `silent_on`" if self.fired else "does not fire on an example of `fires_on`"
        lines = [f"{self.file}:{self.line}: `{self.rule}` {said}", *(f"  {value}" for value in self.values)]
        return "\n".join(lines)


def run_examples(rules: Sequence[LoadedRule]) -> tuple[int, list[Outcome]]:
    """How many examples came out right, and those that did not. Modes and expiry do not count here."""
    right, wrong = 0, []
    for loaded in rules:
        rule = loaded.rule
        explainer = Explainer(rule.tree)
        for wanted, examples in ((True, loaded.fires_on), (False, loaded.silent_on)):
            for example in examples:
                facts = Facts(example.event, example.findings, example.event.at, example.labels, ties=example.ties)
                facts.holds = _holds(rule, example)
                facts.counts = _counts(rule, example, facts)
                tag = BY_CLASS[type(example.event)].tag
                asked = tag in rule.tags
                outcome = explainer.value(rule.tree, facts, {}) if asked else False
                if (outcome is True) == wanted:
                    right += 1
                    continue
                if not asked:
                    values: tuple[str, ...] = (f"the rule does not look at {tag}",)
                elif outcome is None:
                    values = tuple(f"{name} is missing" for name in explainer.missing(facts))
                else:
                    values = explainer.because(facts)
                wrong.append(Outcome(rule=rule.id, file=rule.file, line=example.line, fired=not wanted, values=values))
    return right, wrong


def _counts(rule: Rule, example: Example, facts: Facts) -> Mapping[int, int]:
    counts = dict(alone(RuleSet([msgspec.structs.replace(rule, mode="live")]).asks(facts)))
    if isinstance(example.counts, int):
        return dict.fromkeys(counts, example.counts)
    return counts | {number: count for number, count in example.counts.items() if number in counts}


def _holds(rule: Rule, example: Example) -> Holds:
    banks = banks_of(rule.tree)
    if not banks:
        return lambda _bank, _text: None
    from redshank.matching import holder  # Here, because its room takes time to load and most rules need it not.

    return holder({**dict.fromkeys(banks, BankTexts("")), **example.banks})


Named = Callable[[str], int | None]
"""Gives the number of the counter that a name stands for; None where it stands for none."""


def read_examples(source: Source, node: Node, origins: Mapping[str, str], named: Named) -> tuple[Example, ...]:
    """The examples of a YAML list; what is wrong with one is noted where it stands."""
    if not isinstance(node, SequenceNode):
        source.error_at(node, "expected a list of examples", "Such as `- post: {text: join us}`.")
        return ()
    out = [_read(source, item, origins, named) for item in node.value]
    return tuple(example for example in out if example is not None)


def adopt(raw: dict[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    """`raw`, an event as JSON has it, with declared fields moved from their place of origin into `extra`. Changes `raw`."""
    for path, origin in origins.items():
        part, _, name = origin.partition(".")
        holder = raw if part == "event" else raw.get(part)
        if isinstance(holder, dict) and name in holder:
            value = holder.pop(name)
            if value is not None:
                raw.setdefault("extra", {})[path] = value
    return raw


def _read(source: Source, node: Node, origins: Mapping[str, str], named: Named) -> Example | None:
    if not isinstance(node, MappingNode):
        source.error_at(node, "expected an event", "Such as `post: {text: join us}`.")
        return None
    raw = plain(source, node)
    if not isinstance(raw, dict):
        return None
    labels = raw.pop("labels", [])
    findings = raw.pop("findings", [])
    ties = raw.pop("ties", None)
    counts = raw.pop("counts", {})
    banks = raw.pop("banks", {})
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        source.error_at(node, "expected `labels` to be a list of texts")
        return None
    try:
        event = msgspec.convert(adopt(_complete(raw), origins), Event)
        return Example(
            event=event,
            findings=_findings(findings, event),
            labels=frozenset(labels),
            ties=None if ties is None else _ties(ties),
            counts=_stated(counts, named),
            banks=_banks(banks),
            line=source.line_of(span_of(node)[0]),
        )
    except msgspec.ValidationError as error:
        found = _PATH.match(str(error))
        assert found is not None
        at = _find(node, found["path"] or "", found["reason"])
        source.error_at(at, f"not an event: {_said(found['reason'])}", _hint(found["reason"]))
    except _WrongExampleError as error:
        source.error_at(_find(node, f"$.{error.path}", ""), str(error), error.hint)
    return None


class _WrongExampleError(Exception):
    def __init__(self, message: str, path: str, hint: str = "") -> None:
        self.path = path
        self.hint = hint
        super().__init__(message)


def _said(reason: str) -> str:
    """msgspec's reason in the words of the rule language."""
    for theirs, ours in (("`str`", "a text"), ("`int`", "a number"), ("`object`", "`name: value` lines")):
        reason = reason.replace(theirs, ours)
    reason = reason.replace("Object contains unknown", "it has no").replace("Object missing", "it lacks the")
    return reason[:1].lower() + reason[1:]


def _hint(reason: str) -> str:
    """What was meant by a field that events do not have."""
    wrong = _UNKNOWN.search(reason)
    if not wrong:
        return ""
    if wrong[1] in PARTS:
        return f"Write {PARTS[wrong[1]]}."
    known = {name for record in ("event", "account", "post") for name in RECORDS[record]}
    return nearest(wrong[1], known | {*_BESIDE, "account", "post", "report", "media", "followed"})


def _complete(raw: dict[str, Any]) -> dict[str, Any]:
    """A whole event from the parts that an example names."""
    out: dict[str, Any] = {"id": "example", "network": "example", "at": AT.isoformat(), **raw}
    if "type" not in out:
        parts = {
            "report": "report.received",
            "followed": "follow.created",
            "post": "post.created",
            "media": "media.uploaded",
        }
        out["type"] = next((tag for part, tag in parts.items() if part in raw), "account.created")
    for part in ("account", "followed", "post", "media", "report"):
        if part in out:
            out[part] = {"id": f"example-{part}", **_part(out[part], part)}
    if "account" not in out and out["type"] not in ("report.received", "action.updated"):
        out["account"] = {"id": "example-account"}
    if "post" not in out and str(out["type"]).startswith("post."):
        out["post"] = {"id": "example-post"}
    at = out["at"]
    for part in ("account", "followed"):
        age = out.get(part, {}).pop("age", None)
        if age is not None:
            found = _AGE.fullmatch(str(age))
            if not found or not isinstance(at, str):
                raise _WrongExampleError("expected a stretch of time", f"{part}.age", "Such as 2 days, 5 h, 30 min.")
            stretch = timedelta(**{_UNITS[found[2][0]]: int(found[1])})
            out[part]["created_at"] = (datetime.fromisoformat(at) - stretch).isoformat()
    if isinstance(report := out.get("report"), dict):
        subject = "post" if "post" in out else "account"
        report.setdefault("subject_kind", subject)
        report.setdefault("subject_id", out.get(subject, {}).get("id", f"example-{subject}"))
        report.setdefault("reason", "example")
        report.setdefault("reporter", {"kind": "user"})
    return out


def _part(value: Any, part: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongExampleError(f"expected the {part} as `name: value` lines", part)
    for holder in (value, *[value[name] for name in ("avatar", "banner") if isinstance(value.get(name), dict)]):
        media = holder.get("media")
        if isinstance(media, list):
            holder["media"] = [
                {"id": f"example-media-{number}", **item} if isinstance(item, dict) else item
                for number, item in enumerate(media, 1)
            ]
    for name in ("avatar", "banner"):
        if isinstance(value.get(name), dict):
            value[name] = {"id": f"example-{name}", **value[name]}
    return value


def _findings(raw: Any, event: Event) -> tuple[Finding, ...]:
    if not isinstance(raw, list):
        raise _WrongExampleError("expected `findings` to be a list", "findings", "Such as `- {bank: x, severity: 5}`.")
    out = []
    for number, item in enumerate(raw):
        path = f"findings[{number}]"
        if not isinstance(item, dict):
            raise _WrongExampleError("expected a finding as `name: value`", path)
        for name in item:
            if name not in _FINDING:
                raise _WrongExampleError(
                    f"a finding has no `{name}`", f"{path}.{name}", f"It has {', '.join(_FINDING)}."
                )
        parts = [part for part in ("post", "media", "report", "account") if getattr(event, part, None) is not None]
        values: dict[str, Any] = {"kind": "sha256", "severity": 3, "bank": "example", "policy": "example", **item}
        on = values.pop("on", parts[0] if parts else "account")
        top: dict[str, Any] = {
            name: values.pop(name) for name in ("kind", "score", "seen", "detector") if name in values
        }
        try:
            match = msgspec.convert({"entry": 1, "value": "", **values}, Match)
        except msgspec.ValidationError as error:
            found = _PATH.match(str(error))
            name = ((found and found["path"]) or "").removeprefix("$")
            raise _WrongExampleError(f"not a finding: {_said(found['reason'] if found else '')}", path + name) from None
        whole = {"detector": "example", "score": 1.0, **top, "where": Whole(field=f"{on}.example"), "match": match}
        out.append(msgspec.convert(whole, Finding))
    return tuple(out)


def _ties(raw: Any) -> tuple[Tie, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise _WrongExampleError(
            "expected `ties` to be a list", "ties", "Such as `- {band: likely, kinds: [follows]}`."
        )
    out = []
    for number, item in enumerate(raw):
        for name in item:
            if name not in Tie.__struct_fields__:
                hint = f"It has {', '.join(Tie.__struct_fields__)}."
                raise _WrongExampleError(f"a tie has no `{name}`", f"ties[{number}].{name}", hint)
        whole = {"account": "example-suspended", "band": "possible", "probability": 0.9, **item}
        try:
            out.append(msgspec.convert(whole, Tie))
        except msgspec.ValidationError as error:
            found = _PATH.match(str(error))
            name = ((found and found["path"]) or "").removeprefix("$")
            reason = _said(found["reason"] if found else "")
            raise _WrongExampleError(f"not a tie: {reason}", f"ties[{number}]{name}") from None
    return tuple(out)


def _stated(raw: Any, named: Named) -> int | Mapping[int, int]:
    items = raw.items() if isinstance(raw, dict) else [("", raw)]
    out: dict[int, int] = {}
    for name, count in items:
        path = f"counts.{name}".rstrip(".")
        if type(count) is not int or not 0 <= count <= MOST:
            hint = "Such as `counts: 21`, or `counts: {NAME: 21}`."
            raise _WrongExampleError(f"expected a whole number from 0 to {MOST:,}", path, hint)
        if not name:
            return count
        number = named(name)
        if number is None:
            hint = "Give the counter a name under `names:`, or write `counts: 21` for all."
            raise _WrongExampleError(f"`{name}` is not the name of a counter", path, hint)
        out[number] = count
    return out


def _banks(raw: Any) -> dict[str, BankTexts]:
    hint = "Such as `banks: {known-domains: [clip.example]}`."
    if not isinstance(raw, dict):
        raise _WrongExampleError("expected `banks` with what each holds", "banks", hint)
    for name, texts in raw.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _WrongExampleError("expected a list of texts", f"banks.{name}", hint)
    return {
        name: BankTexts("", frozenset(form for text in texts for form in _forms(text))) for name, texts in raw.items()
    }


def _forms(text: str) -> Iterator[str]:
    """An entry as banks of each kind would keep it."""
    from redshank.matching import canonical_domain, canonical_url
    from redshank.text import bare_name, fold

    forms = (canonical_url(text), canonical_domain(text), fold(text).text.strip(), bare_name(text), text.lower())
    yield from (form for form in forms if form)


def plain(source: Source, node: Node) -> Any:
    """The values of a YAML tree; dates stay texts."""
    if isinstance(node, MappingNode):
        out: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if not isinstance(key, ScalarNode) or name in out:
                source.error_at(key, f"the key `{name}` stands here twice" if name in out else "expected a plain key")
                continue
            out[name] = plain(source, value)
        return out
    if isinstance(node, SequenceNode):
        return [plain(source, item) for item in node.value]
    kind = node.tag.rpartition(":")[2] if isinstance(node, yaml.nodes.ScalarNode) and not node.style else "str"
    text = str(node.value)
    try:
        match kind:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                return text.lower() in ("true", "yes", "on")
            case "null":
                return None
            case _:
                return text
    except ValueError:  # YAML has more ways to write a number (octal, in sixties) than a person means.
        return text


def _find(node: Node, path: str, reason: str) -> Node:
    """The node at a path such as `$.post.media[0].kind`, or as near to it as the example has it."""
    wrong = _UNKNOWN.search(reason)
    names = re.findall(r"[A-Za-z_]\w*|\d+", path.removeprefix("$"))
    if wrong:
        names.append(wrong[1])
    for name in names:
        if isinstance(node, MappingNode):
            for key, value in node.value:
                if key.value == name:
                    node = key if wrong and name == names[-1] else value
                    break
        elif isinstance(node, SequenceNode) and name.isdigit() and int(name) < len(node.value):
            node = node.value[int(name)]
    return node
