"""The rule language: policy people write rules in files, engineers trust what becomes of them.

A rule is a condition over one event and what was seen on it, and the effects it asks for when the condition is True.
It is checked against the event's schema when it is loaded and compiled to Python. A rule knows no case and no platform:
its effects are wishes.
"""

from redshank.rules.diagnostics import Diagnostic, RuleErrors
from redshank.rules.effects import collect, harshness
from redshank.rules.load import DEFAULT_RULES, check, load_rules
from redshank.rules.ruleset import Facts, Rule, RuleSet

__all__ = [
    "DEFAULT_RULES",
    "Diagnostic",
    "Facts",
    "Rule",
    "RuleErrors",
    "RuleSet",
    "check",
    "collect",
    "harshness",
    "load_rules",
]
