"""What a person reads when a rule file is wrong. Each golden/NAME.yaml or .toml has its messages beside it in NAME.txt.

To write them anew after a wanted change: WRITE_GOLDEN=1 pytest tests/rules/test_golden.py, then read the diff.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from redshank.rules import RuleErrors, check, load_rules

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize("path", sorted((*GOLDEN.glob("*.yaml"), *GOLDEN.glob("*.toml"))), ids=lambda path: path.stem)
def test_messages_are_as_they_were(path):
    found = "\n\n".join(item.render() for item in check(path, now=NOW)) + "\n"
    golden = path.with_suffix(".txt")
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((*GOLDEN.glob("*.yaml"), *GOLDEN.glob("*.toml"))), ids=lambda path: path.stem)
def test_every_place_is_in_the_file(path):
    lines = path.read_text(encoding="utf-8").splitlines() or [""]
    for item in check(path, now=NOW):
        assert item.text == lines[item.line - 1]
        assert 1 <= item.column <= len(item.text) + 1
        assert item.column + item.width <= len(item.text) + 2


def test_a_load_raises_all_errors_at_once():
    with pytest.raises(RuleErrors) as caught:
        load_rules(GOLDEN / "shape.yaml")
    errors = [found for found in check(GOLDEN / "shape.yaml") if found.severity == "error"]
    assert len(errors) > 20
    assert all(found.render() in str(caught.value) for found in errors)


def test_a_file_with_warnings_loads_and_keeps_them():
    rules = load_rules(GOLDEN / "warnings.yaml")
    assert len(rules) == 11
    assert [found.severity for found in rules.warnings] == ["warning"] * len(rules.warnings)
    assert len(rules.warnings) >= 8
