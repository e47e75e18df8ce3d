"""Rules at work: facts in, what fired out.

Rules are compiled for each type of event when the first of that type comes. One rule that fails leaves a line in the
errors and stops no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from redshank.core import AddLabel, BankTexts, Effect, Event, Finding, Fired, ReportReceived, RequestAction, Tie
from redshank.rules.compile import Asker, Judge, compile_asks, compile_rules
from redshank.rules.counting import Ask
from redshank.rules.diagnostics import Diagnostic
from redshank.rules.effects import fits
from redshank.rules.explain import Explainer
from redshank.rules.library import Filter
from redshank.rules.schema import BY_CLASS, Type
from redshank.rules.tree import Call, Counting, Node, walk

Mode = Literal["off", "shadow", "live"]
Holds = Callable[[str, str], bool | None]
"""Whether the bank of a name holds what a text names; None where nobody knows."""
TextsOf = Callable[[Collection[str]], Mapping[str, BankTexts]]
"""Gives what the banks of some names hold, as far as there are such banks."""
_MISSING = re.compile(r"[A-Za-z0-9_-]+: (?!failed with ).* (is|are) missing", re.DOTALL)


def _nobody_knows(_bank: str, _text: str) -> None:
    return None


class Facts(msgspec.Struct, gc=False):
    """All that rules can look at for one event.

    `now` is the time of judging, `account_labels` are our labels on the event's account, `media` holds what hashing gave,
    by media id: anything with `sha256`, `md5` and, for pictures, `pdq`, each hex or bytes. `ties` are those of the event's
    account, None where they were not sought; `counts` what counters say, by their numbers, None where nobody knows; `holds`
    looks up texts in banks.
    """

    event: Event
    findings: tuple[Finding, ...]
    now: datetime
    account_labels: frozenset[str] = frozenset()
    media: Mapping[str, Any] = {}
    ties: tuple[Tie, ...] | None = None
    counts: Mapping[int, int] | None = None
    holds: Holds = _nobody_knows


class Rule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rule, checked. `version` depends on all that decides when it fires and what it asks for, on nothing else.

    `policy` may be empty; with `policy_from_match` that of the most severe match it asked for goes before.
    `when` is its condition's canonical spelling, names written out; `tags` are the types of event it is asked about;
    `unsure` is asked for when the condition cannot be evaluated. `at_most` is how much of a kind it may ask for on one
    network in an hour, before a person must look, where that is not what the settings say.
    """

    id: str
    policy: str
    policy_from_match: bool = False
    description: str
    mode: Mode
    owner: str
    expires: datetime | None
    when: str
    effects: tuple[Effect, ...]
    unsure: tuple[Effect, ...]
    at_most: Mapping[str, int] = {}
    version: str
    tags: tuple[str, ...]
    file: str
    line: int
    tree: Node


class RuleSet:
    """Rules that are checked and ready. It does not change; a new version is a new set.

    `fields` are the declared fields by path, `origins` where events of other shapes have them, `warnings` what looked
    wrong at the check, `counters` all that its rules count, by their spelling.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        fields: Mapping[str, Type] = {},
        origins: Mapping[str, str] = {},
        warnings: Sequence[Diagnostic] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.fields = dict(fields)
        self.origins = dict(origins)
        self.warnings = tuple(warnings)
        self._judges: dict[type, Judge] = {}
        self._askers: dict[type, Asker] = {}
        self.counters: dict[str, Counting] = {}
        self._readers: dict[str, set[str]] = {}
        for rule in self.rules:
            for node in walk(rule.tree) if rule.mode != "off" else ():
                if isinstance(node, Counting):
                    self.counters[node.key] = node
                    self._readers.setdefault(node.key, set()).update(rule.tags)

    def __len__(self) -> int:
        return len(self.rules)

    def evaluate(self, facts: Facts) -> tuple[tuple[Fired, ...], tuple[str, ...]]:
        """What fired on one event, in the rules' order, and `rule: reason` for each rule that could not be evaluated.

        Rules that are off or expired do not fire. Never raises.
        """
        fired: list[Fired] = []
        errors: list[str] = []
        judge = self._judges.get(type(facts.event))
        if judge is None:
            judge = self._compile(type(facts.event))
        judge(facts, fired, errors)
        return tuple(fired), tuple(errors)

    def asks(self, facts: Facts) -> Sequence[Ask]:
        """What the rules' counters ask of one event; what they say goes into `facts.counts` before it is judged."""
        if not self.counters:
            return ()
        asker = self._askers.get(type(facts.event))
        if asker is None:
            tag = BY_CLASS[type(facts.event)].tag
            asker = compile_asks(tag, [(found, tag in self._readers[key]) for key, found in self.counters.items()])
            self._askers[type(facts.event)] = asker
        return asker(facts)

    def compile(self) -> None:
        """Compile for every type of event that the rules look at. Raises whatever goes wrong; `evaluate` does it when asked."""
        tags = {tag for rule in self.rules for tag in rule.tags}
        for cls, shape in BY_CLASS.items():
            if shape.tag in tags:
                self._compile(cls)

    def _compile(self, cls: type) -> Judge:
        tag = BY_CLASS[cls].tag
        rules = [rule for rule in self.rules if rule.mode != "off" and tag in rule.tags]
        tellers = [_Teller(rule, tag) for rule in rules]

        def fire(
            number: int,
            facts: Facts,
            outcome: bool | None,
            error: Exception | None,
            fired: list[Fired],
            errors: list[str],
        ) -> None:
            tellers[number](facts, outcome, error, fired, errors)

        judge = compile_rules(tag, [rule.tree for rule in rules], fire)
        self._judges[cls] = judge
        return judge


def says_missing(error: str) -> bool:
    """Whether an error of `RuleSet.evaluate` says no more than that something was missing: nothing went wrong."""
    return _MISSING.fullmatch(error) is not None


class _Teller:
    """Says what came of one rule on one type of event."""

    __slots__ = ("_effects", "_expires", "_explainer", "_filters", "_rule", "_unsure")

    def __init__(self, rule: Rule, tag: str) -> None:
        self._rule = rule
        self._expires = rule.expires
        self._explainer = Explainer(rule.tree)
        self._filters = (
            [Filter(node.constants) for node in walk(rule.tree) if isinstance(node, Call) and node.function.implicit]
            if rule.policy_from_match
            else []
        )
        self._effects = tuple(effect for effect in rule.effects if fits(effect, tag))
        self._unsure = tuple(effect for effect in rule.unsure if fits(effect, tag))

    def __call__(
        self, facts: Facts, outcome: bool | None, error: Exception | None, fired: list[Fired], errors: list[str]
    ) -> None:
        rule = self._rule
        if self._expires is not None and facts.now >= self._expires:
            return
        if outcome:
            fired.append(self._fired(facts, _safely(self._explainer.because, facts), self._effects))
            return
        if error is not None:
            reason = f"failed with {type(error).__name__}: {error}"
        else:
            missing = _safely(self._explainer.missing, facts)
            if not missing:
                return  # Only what events of this type never have was missing: there is nothing to be unsure about.
            reason = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        errors.append(f"{rule.id}: {reason}")
        if self._unsure:
            fired.append(self._fired(facts, (f"could not be evaluated: {reason}",), self._unsure))

    def _policy(self, facts: Facts) -> str:
        severity, policy = 0, self._rule.policy
        for found in self._filters:
            for finding in found.select(facts.findings, facts.event):
                if finding.match is not None and finding.match.policy and finding.match.severity > severity:
                    severity, policy = finding.match.severity, finding.match.policy
        return policy

    def _fired(self, facts: Facts, because: tuple[str, ...], effects: tuple[Effect, ...]) -> Fired:
        rule = self._rule
        if isinstance(facts.event, ReportReceived):
            effects = tuple(effect for effect in effects if _is_reported(effect, facts.event))
        return Fired(
            rule=rule.id,
            version=rule.version,
            policy=self._policy(facts) if self._filters else rule.policy,
            description=rule.description,
            live=rule.mode == "live",
            because=because,
            effects=effects,
        )


def _is_reported(effect: Effect, event: ReportReceived) -> bool:
    """Whether what the effect is about is what the report is about, or its owner."""
    if not isinstance(effect, RequestAction | AddLabel):
        return True
    if isinstance(effect, AddLabel) or effect.target == "account":
        return event.account is not None or event.report.subject_kind == "account"
    return effect.target == event.report.subject_kind


def _safely(explain: Callable[[Facts], tuple[str, ...]], facts: Facts) -> tuple[str, ...]:
    """An explanation that cannot be given must not lose what it explains."""
    try:
        return explain(facts)
    except Exception as error:  # noqa: BLE001
        return (f"(no explanation: {type(error).__name__}: {error})",)
