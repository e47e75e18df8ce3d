"""The rule language: policy people write rules in files, engineers trust what becomes of them.

A rule is a condition over one event and what was seen on it, and the effects it asks for when the condition is True.
It is checked against the event's schema when it is loaded and compiled to Python. A rule knows no case and no platform:
its effects are wishes.
"""

from redshank.rules.diagnostics import Diagnostic, RuleErrors
from redshank.rules.effects import collect, harshness
from redshank.rules.examples import run_examples
from redshank.rules.handbook import manual
from redshank.rules.loader import (
    DEFAULT_RULES,
    Folder,
    Installation,
    Loaded,
    Written,
    check,
    list_files,
    load,
    load_rules,
    rule_files,
)
from redshank.rules.ruleset import Facts, Rule, RuleSet, says_missing
from redshank.rules.trial import Trial, effect_names

__all__ = [
    "DEFAULT_RULES",
    "Diagnostic",
    "Facts",
    "Folder",
    "Installation",
    "Loaded",
    "Rule",
    "RuleErrors",
    "RuleSet",
    "Trial",
    "Written",
    "check",
    "collect",
    "effect_names",
    "harshness",
    "list_files",
    "load",
    "load_rules",
    "manual",
    "rule_files",
    "run_examples",
    "says_missing",
]
