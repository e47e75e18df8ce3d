"""Lists beside the rule files: `lists/NAME.txt` is `list("NAME")`."""

from __future__ import annotations

import pytest

from redshank.rules import RuleErrors, list_files, load, load_rules, rule_files
from tests.rules.making import facts, post

RULE = """
rules:
  - id: listed
    when: any(domain(link) in list("shorteners") for link in account.links)
    effects: [preserve]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULE)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "shorteners.txt").write_text("# Of the desk.\n\n sho.example \n#tag\ntiny.example\r\n")
    return tmp_path


def test_a_text_file_is_a_list(folder):
    rules = load_rules(folder)
    for link, fires in (("https://sho.example/1", True), ("https://tiny.example", True), ("https://a.example", False)):
        fired, _ = rules.evaluate(facts(post("see", links=(link,))))
        assert bool(fired) is fires
    [warning] = rules.warnings  # Of "#tag", which is no comment: nothing stands between sign and word.
    assert 'no domain is ever "#tag"' in warning.message
    assert [path.name for path in (*rule_files(folder), *list_files(folder))] == ["rules.yaml", "shorteners.txt"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("shorteners.txt", b"sho.example\ntiny.ex", "lists/shorteners.txt:2:7: error: the file ends in the middle"),
        ("shorteners.txt", b"sho\xff.example\n", "lists/shorteners.txt:1:4: error: not UTF-8"),
        ("bad name.txt", b"x\n", "lists/bad name.txt:1:1: error: `bad name` cannot be a list's name"),
    ],
)
def test_a_list_that_is_wrong_is_named(folder, name, content, said):
    (folder / "lists" / name).write_bytes(content)
    with pytest.raises(RuleErrors) as caught:
        load_rules(folder)
    assert said in str(caught.value)


def test_two_lists_of_one_name_are_named(folder):
    (folder / "more.yaml").write_text("lists:\n  shorteners: [a]\n")
    assert 'there are two lists "shorteners"' in load(folder, {}).diagnostics[0].message
    (folder / "more.yaml").unlink()
    assert 'there are two lists "shorteners"' in load(folder, {"shorteners": ["a"]}).diagnostics[0].message
