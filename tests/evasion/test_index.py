"""The index of suspensions finds who shares most, forgets at once what is taken back, and refuses what is damaged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.core import BadInput, Problem
from redshank.evasion import KeyedToken, Profile, SuspensionIndex, encode
from redshank.evasion.kernels import FEATURES
from tests.evasion.worlds import again, person, suspended

PEOPLE = suspended()
DEVICE = FEATURES.index("device")


@pytest.fixture(scope="module")
def built() -> SuspensionIndex:
    """Never changed: tests that change one build their own."""
    return SuspensionIndex.build(encode(PEOPLE))


def test_a_returned_account_brings_up_its_old_one_first(built: SuspensionIndex) -> None:
    backs = encode([again(old, 10_000 + old.number, share=0.3) for old in PEOPLE[:100]])
    firsts = [int(built.search(backs, row).ids[0]) for row in range(100)]
    assert sum(first == old.number for first, old in zip(firsts, PEOPLE, strict=False)) >= 97


def test_a_suspension_is_a_target_at_once_and_a_reversed_one_gone_at_once() -> None:
    index = SuspensionIndex.build(encode(PEOPLE[:300]))
    late = PEOPLE[700]
    back = encode([again(late, 20_000)])
    assert late.number not in index.search(back).ids
    index.add(encode([late]))
    assert index.search(back).ids[0] == late.number
    assert index.remove(late.number)
    assert late.number not in index.search(back).ids
    assert not index.remove(late.number)
    assert PEOPLE[5].number in index.search(encode([again(PEOPLE[5], 20_001)])).ids
    assert index.remove(PEOPLE[5].number)
    assert PEOPLE[5].number not in index.search(encode([again(PEOPLE[5], 20_001)])).ids


def test_what_came_since_is_found_as_if_it_had_been_there_from_the_start() -> None:
    index = SuspensionIndex.build(encode(PEOPLE[:200]))
    for start in range(200, len(PEOPLE), 100):  # Through full tails and joined segments.
        index.add(encode(PEOPLE[start : start + 100]))
    assert len(index) == len(PEOPLE)
    backs = encode([again(old, 30_000 + old.number) for old in PEOPLE[::50]])
    whole = SuspensionIndex.build(encode(PEOPLE))
    for row, old in enumerate(PEOPLE[::50]):
        assert index.search(backs, row).ids[0] == whole.search(backs, row).ids[0] == old.number
    assert len(index.compacted(note="all")) == len(PEOPLE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=60), st.integers(0, 8))
def test_adding_and_removing_agree_with_a_plain_dict(steps: list[tuple[bool, int]], base: int) -> None:
    people = {person.number: person for person in PEOPLE[:12]}
    index = SuspensionIndex.build(encode(PEOPLE[:base]))
    known = {person.number for person in PEOPLE[:base]}
    for adds, number in steps:
        if adds:
            index.add(encode([people[number]]))
            known.add(number)
        else:
            assert index.remove(number) == (number in known)
            known.discard(number)
    assert len(index) == len(known)
    for number, old in people.items():
        assert (number in index) == (number in known)
        found = index.search(encode([again(old, 40_000 + number, share=1.0)])).ids.tolist()
        assert set(found) <= known
        assert number not in known or number in found
    assert {*index.compacted(note="")._base.accounts.ids.tolist()} == known


def test_a_saved_index_answers_the_same(built: SuspensionIndex, tmp_path: Path) -> None:
    built.save(tmp_path / "base")
    opened = SuspensionIndex.open(tmp_path / "base", verify=True)
    back = encode([again(PEOPLE[3], 50_000)])
    one, other = built.search(back), opened.search(back)
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_array_equal(one.features, other.features)
    opened.add(encode([person(np.random.default_rng(9), 60_000, 1)]))
    with pytest.raises(Problem, match="changes"):
        opened.save(tmp_path / "base")


def test_a_damaged_file_is_refused_or_only_misleads(built: SuspensionIndex, tmp_path: Path) -> None:
    path = tmp_path / "base"
    built.save(path)
    good = path.read_bytes()
    back = encode([again(old, 70_000 + old.number) for old in PEOPLE[:5]])
    random = np.random.default_rng(4)
    broken = [b"", good[:5], b"nothing of the kind" * 99, good[:200], good[: len(good) // 2], good[:-5000]]
    for _ in range(40):
        bad = bytearray(good)
        for place in random.integers(0, len(good), 30):
            bad[place] ^= int(random.integers(1, 256))
        broken.append(bytes(bad))
    for place in random.integers(len(good) // 4, len(good) - 300, 20):  # Past the header: only sums can tell.
        bad = bytearray(good)
        bad[place : place + 300] = bytes(byte ^ 0x55 for byte in bad[place : place + 300])
        broken.append(bytes(bad))
    for number, raw in enumerate(broken):
        other = tmp_path / f"bad{number}"
        other.write_bytes(raw)
        with pytest.raises(Problem, match="Build it again"):
            SuspensionIndex.open(other, verify=True)
        try:
            index = SuspensionIndex.open(other)
        except Problem:
            continue
        for row in range(5):
            assert len(index.search(back, row).ids) <= 40


def test_an_account_of_which_nothing_is_known_has_no_ties(built: SuspensionIndex) -> None:
    nothing = encode([Profile(number=80_000)])
    assert not len(built.search(nothing).ids)
    beside = SuspensionIndex.build(encode([*PEOPLE[:3], Profile(number=70_000)]))
    assert not len(beside.search(nothing).ids)


def test_an_account_that_follows_five_million_is_searched_like_any_other(built: SuspensionIndex) -> None:
    greedy = Profile(number=80_001, follows=tuple(map(str, range(5_000_000))))
    encoded = encode([greedy])
    assert len(encoded.accounts.keys) <= 2_000
    assert len(built.search(encoded).ids) <= 40


def test_an_account_is_never_its_own_candidate(built: SuspensionIndex) -> None:
    assert PEOPLE[0].number not in built.search(encode([PEOPLE[0]])).ids


def test_tokens_count_under_a_live_key_alone() -> None:
    token = KeyedToken("device", "k1", "3q2-7wAAAAAAAAAAAAAA")
    old = person(np.random.default_rng(2), 1, 0, tokens=(token,))
    index = SuspensionIndex.build(encode([*PEOPLE[1:50], old]))
    new = Profile(number=90_000, tokens=(token,))
    assert index.search(encode([new], live_keys={"k1"})).ids.tolist() == [1]
    assert index.search(encode([new], live_keys={"k1"})).features[0, DEVICE] > 0
    assert not len(index.search(encode([new], live_keys={"k2"})).ids)
    renamed = Profile(number=90_001, tokens=(KeyedToken("device", "k2", token.value),))
    assert not len(index.search(encode([renamed], live_keys={"k1", "k2"})).ids)


@pytest.mark.parametrize(
    "fields",
    [
        {"avatar": b"short"},
        {"hours": (1, 2, 3)},
        {"hours": (-1,) * 24},
        {"number": 2**63},
        {"created_at": -1},
        {"ended_at": 2**40},
        {"tokens": (KeyedToken("shoe size", "k1", "44"),)},
    ],
)
def test_what_has_the_wrong_shape_is_named(fields: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="account"):
        encode([Profile(**({"number": 1} | fields))])  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", ["x", "\u200d", "\u202e", "a\u0301", "\U0001f426", "\ud800", "7"])
def test_names_of_ten_thousand_signs_are_cut_and_searched_like_any_other(built: SuspensionIndex, sign: str) -> None:
    name = sign * 10_000
    long = encode([Profile(number=80_001, handle=name, display_name=name, bio=name, links=(name,), language=name)])
    assert len(long.accounts.keys) <= 20
    assert len(built.search(long).ids) <= 40
    hidden = "\u200d" * 1_000 + PEOPLE[0].handle
    plain, dressed = (encode([Profile(number=80_001, handle=handle)]) for handle in (PEOPLE[0].handle, hidden))
    assert (plain.accounts.handles == dressed.accounts.handles).all()
