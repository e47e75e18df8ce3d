"""The index finds what a comparison with every entry finds: in any order of changes, for any radius, on any hashes."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from redshank.core import BadInput
from redshank.matching import HammingIndex, hamming, hamming_segment

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "media"


def scan(entries, query: np.ndarray, radius: int) -> list[tuple[int, int]]:
    """Every (id, distance) within the radius, by comparing with all."""
    found = []
    for id_, hash_ in entries:
        distance = int(np.bitwise_count(np.frombuffer(hash_, np.uint8) ^ query).sum())
        if distance <= radius:
            found.append((id_, distance))
    return sorted(found, key=lambda match: (match[1], match[0]))


def scan_all(hashes: np.ndarray, query: np.ndarray, radius: int) -> list[tuple[int, int]]:
    distances = np.bitwise_count(hashes.view(np.uint64) ^ query.view(np.uint64)).sum(1)
    ids = np.flatnonzero(distances <= radius)
    return sorted(((int(k), int(distances[k])) for k in ids), key=lambda match: (match[1], match[0]))


def flipped(hash_: np.ndarray, bits: np.ndarray | list[int]) -> np.ndarray:
    unpacked = np.unpackbits(hash_)
    unpacked[bits] ^= 1
    return np.packbits(unpacked)


ROOTS = np.random.default_rng(7).integers(0, 256, (4, 32), dtype=np.uint8)
ROOTS[0], ROOTS[1] = 0, 255


@st.composite
def hashes_near_roots(draw) -> np.ndarray:
    """Hashes around few roots, in all distances around the largest radius, some with all flips in few words."""
    root = ROOTS[draw(st.integers(0, len(ROOTS) - 1))]
    count = draw(st.integers(0, 40))
    first = draw(st.sampled_from([0, 16, 100, 240 - 40]))
    places = np.random.default_rng(draw(st.integers(0, 50))).permutation(256)[:count]
    if draw(st.booleans()):
        places = (first + np.arange(count)) % 256
    return flipped(root, places)


IDS = st.sampled_from([0, 1, 2, 3, -5, 1 << 40, -(1 << 63), (1 << 63) - 1])


class Against(RuleBasedStateMachine):
    """Any order of changes, saves, openings and merges; a plain list of entries says what is right."""

    hashes = Bundle("hashes")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "index"
        self.entries: list[tuple[int, bytes]] = []
        self.index = HammingIndex()
        self.reader: HammingIndex | None = None

    @initialize(some=st.lists(st.tuples(hashes_near_roots(), IDS), max_size=20))
    def build(self, some) -> None:
        hashes = np.array([hash_ for hash_, _ in some], np.uint8).reshape(-1, 32)
        self.index = HammingIndex.build(hashes, [id_ for _, id_ in some])
        self.entries = [(id_, hash_.tobytes()) for hash_, id_ in some]

    @rule(target=hashes, hash_=hashes_near_roots())
    def see(self, hash_):
        return hash_

    @rule(some=st.lists(st.tuples(hashes, IDS), min_size=1, max_size=20))
    def add(self, some) -> None:
        self.index.add(np.array([hash_ for hash_, _ in some]), np.array([id_ for _, id_ in some]))
        self.entries += [(id_, hash_.tobytes()) for hash_, id_ in some]

    @rule(ids=st.lists(IDS, min_size=1, max_size=3))
    def remove(self, ids) -> None:
        kept = [entry for entry in self.entries if entry[0] not in ids]
        assert self.index.remove(ids) == len(self.entries) - len(kept)
        self.entries = kept

    @rule()
    def merge(self) -> None:
        self.index.merge()
        assert self.index.delta == 0

    @rule(write=st.booleans())
    def save_and_open(self, write: bool) -> None:
        self.index.close()
        if write:
            self.index.save(self.path)
            self.index = HammingIndex.open(self.path, write=True)
        else:
            self.index.save(self.path)
            self.index = HammingIndex.build(*_all(self.entries))
        self.reader = self.reader or HammingIndex.open(self.path)

    @rule(radius=st.integers(0, 31), query=hashes)
    def search(self, radius: int, query) -> None:
        assert self.index.search(query, radius) == scan(self.entries, query, radius)

    @precondition(lambda self: self.reader is not None and self.index._writer is not None)
    @rule(radius=st.integers(0, 31), query=hashes)
    def read(self, radius: int, query) -> None:
        assert self.reader.search(query.tobytes(), radius) == scan(self.entries, query, radius)
        assert len(self.reader) == len(self.entries)

    @rule(radius=st.integers(0, 31), queries=st.lists(hashes, max_size=5))
    def search_many(self, radius: int, queries) -> None:
        rows, ids, distances = self.index.search_many(np.array(queries, np.uint8).reshape(-1, 32), radius)
        expected = [(k, *match) for k, query in enumerate(queries) for match in scan(self.entries, query, radius)]
        assert list(zip(rows.tolist(), ids.tolist(), distances.tolist(), strict=True)) == expected

    @invariant()
    def counts(self) -> None:
        assert len(self.index) == len(self.entries)

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()


def _all(entries):
    hashes = np.frombuffer(b"".join(hash_ for _, hash_ in entries), np.uint8).reshape(-1, 32)
    return hashes, np.array([id_ for id_, _ in entries], np.int64)


class TestAgainst:
    """The machine above, with all sizes made small, so that tables, middle and merges come into play with few entries."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch) -> None:
        monkeypatch.setattr(hamming_segment, "FLAT_BELOW", 6)
        monkeypatch.setattr(hamming, "TAIL", 16)
        monkeypatch.setattr(hamming, "DELTA_LEAST", 48)
        monkeypatch.setattr(hamming, "DELTA_MOST", 48)
        monkeypatch.setattr(hamming, "ROOM", 2)

    def test_any_order(self) -> None:
        from hypothesis.stateful import run_state_machine_as_test

        run_state_machine_as_test(
            Against,
            settings=settings(
                max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )


@pytest.fixture(scope="module")
def many():
    """Random hashes with tables, enough that rows need more than 16 bits."""
    hashes = np.random.default_rng(3).integers(0, 256, (150_000, 32), dtype=np.uint8)
    return hashes, HammingIndex.build(hashes, np.arange(len(hashes)))


@settings(max_examples=150, deadline=None)
@given(row=st.integers(0, 149_999), flips=st.integers(0, 40), radius=st.integers(0, 31), seed=st.integers(0, 1 << 30))
def test_a_copy_is_found_up_to_the_radius_and_not_beyond(many, row, flips, radius, seed) -> None:
    hashes, index = many
    query = flipped(hashes[row], np.random.default_rng(seed).permutation(256)[:flips])
    assert index.search(query, radius) == ([(row, flips)] if flips <= radius else [])


@pytest.mark.parametrize("radius", range(32))
def test_every_way_to_spread_a_distance_over_words_is_found(radius: int) -> None:
    # The tightest case of the pigeonhole is a distance of exactly the radius, spread evenly or heaped up.
    rng = np.random.default_rng(radius)
    roots = rng.integers(0, 256, (5000, 32), dtype=np.uint8)
    index = HammingIndex.build(roots, np.arange(5000))
    for k in range(300):
        words = rng.dirichlet(np.full(16, rng.choice([0.05, 0.5, 5, 500])))
        counts = np.minimum(rng.multinomial(radius, words), 16)
        bits = np.concatenate([part * 16 + rng.permutation(16)[: counts[part]] for part in range(16)])
        assert index.search(flipped(roots[k], bits), radius) == [(k, len(bits))]


def test_real_hashes_are_found_as_by_a_scan() -> None:
    if not (DATA / "pdq-haystack.txt").exists():
        pytest.skip("needs the shared media data")
    known, wanted = (
        np.array([list(bytes.fromhex(line)) for line in (DATA / name).read_text().split()], np.uint8)
        for name in ("pdq-haystack.txt", "pdq-needles.txt")
    )
    hashes = np.concatenate([known] * 4)  # Enough for tables, each hash four times.
    index = HammingIndex.build(hashes, np.arange(len(hashes)))
    for query in (*wanted, *known[:100]):
        for radius in (0, 15, 16, 31):
            assert index.search(query, radius) == scan_all(hashes, query, radius)


def test_ten_thousand_equal_entries_are_all_found_and_hide_no_other() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 256, (20_000, 32), dtype=np.uint8)
    hashes[5000:15_000] = 0
    index = HammingIndex.build(hashes, np.arange(20_000))
    assert index.search(bytes(32), 31) == [(k, 0) for k in range(5000, 15_000)]
    assert index.search(flipped(hashes[6000], [1, 70, 200]), 31) == [(k, 3) for k in range(5000, 15_000)]
    assert index.search(hashes[4], 31) == [(4, 0)]
    assert index.remove(range(5000, 14_999)) == 9999
    assert index.search(bytes(32), 31) == [(14_999, 0)]
    index.merge()
    assert index.search(bytes(32), 31) == [(14_999, 0)]


def test_a_crowd_of_near_equal_entries_is_found_whole() -> None:
    # All in the same few buckets: more survivors than are resolved together, in buckets of more than one step.
    rng = np.random.default_rng(6)
    hashes = np.zeros((70_000, 32), np.uint8)
    for k in range(1, len(hashes)):
        hashes[k] = flipped(hashes[0], rng.integers(0, 256, rng.integers(1, 24)))
    index = HammingIndex.build(hashes, np.arange(len(hashes)))
    for query in (hashes[0], hashes[17], flipped(hashes[0], [0, 16, 32, 48, 64])):
        for radius in (3, 12, 16, 31):
            assert index.search(query, radius) == scan_all(hashes, query, radius)


@pytest.mark.parametrize("ids", [[-(1 << 63), (1 << 63) - 1], [5, 5 + (1 << 32) - 1], [5, 5 + (1 << 32)], [-9, -3]])
def test_ids_of_any_size_come_back(ids: list[int]) -> None:
    hashes = np.random.default_rng(8).integers(0, 256, (6000, 32), dtype=np.uint8)
    given_ids = np.full(6000, ids[0], np.int64)
    given_ids[1::2] = ids[1]
    index = HammingIndex.build(hashes, given_ids)
    assert index.search(hashes[2], 0) == [(ids[0], 0)]
    assert index.search(hashes[3], 0) == [(ids[1], 0)]
    assert index.remove([ids[1]]) == 3000
    assert index.search(hashes[3], 31) == []


def test_one_searches_while_another_changes(monkeypatch) -> None:
    monkeypatch.setattr(hamming, "DELTA_LEAST", 4000)
    hashes = np.random.default_rng(9).integers(0, 256, (30_000, 32), dtype=np.uint8)
    index = HammingIndex.build(hashes[:10_000], np.arange(10_000))
    wrong: list[object] = []
    done = threading.Event()

    def look() -> None:
        rng = np.random.default_rng(1)
        while not done.is_set():
            row = int(rng.integers(10_000))
            if index.search(hashes[row], 31) != [(row, 0)]:
                wrong.append(row)

    watcher = threading.Thread(target=look)
    watcher.start()
    for start in range(10_000, 30_000, 100):
        index.add(hashes[start : start + 100], np.arange(start, start + 100))
        assert index.search(hashes[start], 31) == [(start, 0)]
    done.set()
    watcher.join()
    index.close()
    assert not wrong
    assert len(index) == 30_000
    assert index.delta < 20_000  # At least one merge has come to its end.


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda i: i.search(b"short", 3), "a hash of 5 bytes instead of 32"),
        (lambda i: i.search(bytes(32), 32), "a radius of 32; it can be 0 to 31"),
        (lambda i: i.search(bytes(32), -1), "a radius of -1; it can be 0 to 31"),
        (lambda i: i.search("00" * 32, 3), "a hash is given as 32 bytes or as an array of uint8 (32,)"),
        (lambda i: i.search_many(np.zeros((2, 31), np.uint8), 3), "hashes are uint8 of shape (n, 32), not uint8 of shape (2, 31)"),
        (lambda i: i.add(np.zeros((2, 32)), [1, 2]), "hashes are uint8 of shape (n, 32), not float64 of shape (2, 32)"),
        (lambda i: i.add(np.zeros((2, 32), np.uint8), [1]), "2 hashes with 1 ids"),
        (lambda i: i.add(np.zeros((1, 32), np.uint8), [1.5]), "ids are integers of shape (n,), not float64 of shape (1,)"),
        (
            lambda i: i.add(np.zeros((1, 32), np.uint8), np.array([1 << 63], np.uint64)),
            "the id 9223372036854775808 does not fit a signed 64-bit integer",
        ),
    ],
)  # fmt: skip
def test_what_is_no_hash_or_id_is_refused_by_name(call, sentence: str) -> None:
    index = HammingIndex.build(np.zeros((1, 32), np.uint8), [1])
    with pytest.raises(BadInput) as refused:
        call(index)
    assert str(refused.value) == sentence
    assert index.search(bytes(32), 0) == [(1, 0)]


def test_an_index_of_nothing_and_of_one() -> None:
    index = HammingIndex()
    assert index.search(bytes(32), 31) == []
    assert [part.tolist() for part in index.search_many(np.empty((0, 32), np.uint8), 31)] == [[], [], []]
    assert index.remove([1]) == 0
    index.add(np.zeros((1, 32), np.uint8), [7])
    index.merge()
    assert index.search(bytes(32), 0) == [(7, 0)]
    assert index.remove([7]) == 1
    index.merge()
    assert len(index) == 0
