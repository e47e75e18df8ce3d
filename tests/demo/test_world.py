"""The demo's world: the same from the same seed, taken by the schema, varied, and hashable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from redshank.core import Settings, decode_event
from redshank.demo import pictures, world
from redshank.media import Hasher, ImageHashes

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def small() -> world.World:
    return world.build(3, 400, now=NOW)


def test_the_same_seed_gives_the_same_world_and_another_seed_another(small: world.World) -> None:
    assert world.build(3, 400, now=NOW) == small
    least = world.build(2, 1, now=NOW)  # As small as it gets.
    assert len(least.happenings) == world.LEAST
    assert least.known_pictures != small.known_pictures


def test_every_event_is_taken_by_the_schema_and_nothing_comes_before_its_account(small: world.World) -> None:
    assert len(small.happenings) == 400
    assert len({happening.key for happening in small.happenings}) == 400
    there: set[tuple[str, str]] = set()
    for happening in small.happenings:
        event = decode_event(msgspec.json.encode(happening.event), now=NOW)
        account = getattr(event, "account", None)
        if event.__struct_config__.tag == "account.created":
            there.add((event.network, account.id))
        elif account:
            assert (event.network, account.id) in there
    kinds = Counter(happening.truth.kind for happening in small.happenings if happening.truth)
    assert set(kinds) == {"picture", "video", "words", "link", "report", "return", "innocent"}


@pytest.fixture(scope="module")
def hasher() -> Iterator[Hasher]:
    with Hasher(Settings().media) as hasher:
        yield hasher


def hashed(hasher: Hasher, place: Path, data: bytes) -> tuple[int, int]:
    """PDQ, as a number, and quality of the file that `data` makes."""
    place.write_bytes(data)
    found = hasher.hash(place)
    assert isinstance(found, ImageHashes)
    return int(found.pdq, 16), found.quality


def test_pictures_hold_a_hash_and_differ_from_each_other(hasher: Hasher, tmp_path: Path) -> None:
    hashes = []
    for number in range(16):
        picture = pictures.SCENES[number % 4](np.random.default_rng([5, number]), pictures.SMALL)
        pdq, quality = hashed(hasher, tmp_path / "picture", pictures.as_jpeg(picture))
        assert quality >= 50
        hashes.append(pdq)
    apart = [(one ^ other).bit_count() for place, one in enumerate(hashes) for other in hashes[:place]]
    assert min(apart) > 62  # twice the limit: no two of them can match one known picture


@pytest.mark.parametrize("way", [way for way, (must, _) in pictures.EDITS.items() if must])
def test_what_must_be_found_stays_near_its_original(way: str, hasher: Hasher, tmp_path: Path) -> None:
    for number in range(4):
        rng = np.random.default_rng([6, number])
        original = pictures.SCENES[number](rng, pictures.SIZE)
        known = pictures.as_jpeg(original, 92)
        before, _ = hashed(hasher, tmp_path / "known", known)
        (tmp_path / "edited").write_bytes(pictures.EDITS[way][1](original, known, rng))
        after = hasher.hash(tmp_path / "edited")
        assert isinstance(after, ImageHashes)
        forms = {"": after.pdq} | {one.how: one.pdq for one in after.variants}
        form = forms["mirrored" if way == "mirrored" else ""]
        assert (before ^ int(form, 16)).bit_count() <= 24  # of 31 allowed: well inside
