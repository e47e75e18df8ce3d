"""The documentation cannot lie: every rule file in it loads without a warning, and its examples come out right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from redshank.rules import check, load, run_examples

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{name}-{number}")
    for name in ("rules.md", "from-osprey.md")
    for number, block in enumerate(
        re.findall(r"^```yaml\n(.*?)^```$", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE), 1
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_rule_file_of_the_docs_holds(block, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(block)
    loaded = load(path, {})
    assert not loaded.diagnostics, "\n".join(found.render() for found in loaded.diagnostics)
    _, wrong = run_examples(loaded.examples)
    assert not wrong, "\n".join(outcome.render() for outcome in wrong)


def test_the_docs_have_rules_to_load():
    assert len(BLOCKS) == 8


def test_the_mistake_in_the_docs_is_shown_as_they_say(tmp_path):
    text = (DOCS / "rules.md").read_text()
    path = tmp_path / "march.yaml"
    path.write_text(BLOCKS[0].values[0].replace("contains(post", "contians(post"))
    (found,) = check(path)
    shown = re.search(r"^    march\.yaml:.*?\n\n", text, re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert [line.removeprefix("    ") for line in shown[0].splitlines()[:-1]] == found.render().splitlines()
