"""A name's skeleton stays the same however it is spelled, and nothing that a stranger calls himself does harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.evasion.names import MAX_PARTS, MAX_SKELETON, display_skeleton, handle_skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("heron_marsh", "HeronMarsh"),
        ("heron_marsh", "h3r0n_m4rsh"),
        ("heron_marsh7", "heron_marsh_8"),
        ("heron_marsh", "heron__marsh__"),
        ("l1nnet", "Iinnet"),
        ("heron", "hеrоn"),  # Cyrillic ie and o
        ("heron", "h\u200de\u200dr\u200don"),
        ("heron", "\u202eheron"),
        ("heron", "ｈｅｒｏｎ"),
    ],
)
def test_one_handle_in_two_spellings_has_one_skeleton(one: str, other: str) -> None:
    assert handle_skeleton(one).text == handle_skeleton(other).text != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ivan Karlin", "Иван Карлин"),
        ("Yusuf Karlin", "Karlin Youssef 🌙"),
        ("محمد", "Muhammad"),
        ("محمد", "Mohamed"),
        ("عبدالله", "Abdullah"),
        ("Aleksandr", "Александр"),
    ],
)
def test_one_name_in_two_scripts_is_heard_the_same(one: str, other: str) -> None:
    assert display_skeleton(one).parts == display_skeleton(other).parts != ()


def test_other_names_stay_other_names() -> None:
    assert handle_skeleton("heron_marsh").text != handle_skeleton("otter_reed").text
    assert not set(display_skeleton("Ivan Karlin").parts) & set(display_skeleton("Peter Dolen").parts)


def test_the_number_at_the_end_is_kept_apart() -> None:
    assert [handle_skeleton(name).number for name in ("heron", "heron7", "heron_08", "heron99999999999")] == [
        0, 7, 8, 2**32 - 1,
    ]  # fmt: skip


@given(
    st.text(max_size=300) | st.sampled_from(["x" * 10_000, "\u200d" * 10_000, "\u202e" * 10_000, "a\u0301" * 10_000])
)
def test_any_name_has_a_short_ascii_skeleton(name: str) -> None:
    for skeleton in (handle_skeleton(name), display_skeleton(name)):
        assert skeleton.text.isascii()
        assert len(skeleton.text) <= MAX_SKELETON
        assert len(skeleton.parts) <= MAX_PARTS
        assert 0 <= skeleton.number < 2**32


def test_what_lies_beyond_the_cut_counts_nothing() -> None:
    for skeleton in (handle_skeleton, display_skeleton):
        assert skeleton("reed " * 40 + "aaa") == skeleton("reed " * 40)
        assert skeleton("reed" + "\u200b" * 2_100 + "aaa") == skeleton("reed")


def test_invisible_names_have_no_skeleton() -> None:
    assert handle_skeleton("\u200d" * 10_000).text == display_skeleton("\u202e" * 10_000).text == ""
