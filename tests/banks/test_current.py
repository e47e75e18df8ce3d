"""What is known follows the store by what changed, whatever becomes of the files beside it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redshank.banks import base, current, services
from redshank.banks.models import BankStep, Entry
from redshank.banks.services import NewEntry
from redshank.core import Media
from redshank.media import Frame, ImageHashes, VideoHashes
from tests.banks.conftest import NOW, post

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path, settings, monkeypatch):
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(current, "CHECKED_EVERY", 0.0)
    monkeypatch.setattr(current, "_view", None)


def pdq(seed):
    bits = np.array([1] * 128 + [0] * 128, np.uint8)
    np.random.default_rng(seed).shuffle(bits)
    return np.packbits(bits).tobytes().hex()


VALUES = {
    "pdq": [pdq(n) for n in range(6)], "sha1": [f"{n:040x}" for n in range(1, 5)], "term": ["iron wolf", "grey heron"],
    "url": ["https://bad.example/x", "https://bad.example/*"], "domain": ["bad.example"], "name": ["ironwolf"],
    "video": [f"{n:064x}" for n in range(1, 4)],
}  # fmt: skip
FILMS = {
    value: tuple(Frame(float(s), pdq(100 * n + s), 100) for s in range(5)) for n, value in enumerate(VALUES["video"])
}


def new(kind, value):
    return NewEntry(value=value, frames=FILMS[value] if kind == "video" else ())


def everything():
    """An event that shows every value there is, with the hashes of its media."""
    media = [Media(id=value[:20], pdq=value) for value in VALUES["pdq"]]
    media += [Media(id=value, sha1=value) for value in VALUES["sha1"]]
    media += [Media(id=value) for value in FILMS]
    hashes = {
        value: VideoHashes(sha256="e" * 64, md5="", frames=frames, seconds=5, width=1, height=1)
        for value, frames in FILMS.items()
    }
    account = post().account.__class__(id="a1", handle="iron_wolf")
    text = " ".join((*VALUES["term"], *VALUES["url"][:1]))
    return post(text, account=account, media=tuple(media)), hashes


def found():
    event, hashes = everything()
    return {finding.match.entry for finding in services.known().find(event, hashes)}


def right():
    return set(Entry.objects.filter(withdrawn_at=None, bank__active=True).values_list("pk", flat=True))


ROUND = itertools.count()
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(sorted(VALUES)), st.integers(0, 5)),
        st.tuples(st.just("withdraw"), st.integers(0, 10), st.just(0)),
        st.tuples(st.just("restore"), st.integers(0, 10), st.just(0)),
        st.tuples(st.just("switch"), st.sampled_from(sorted(VALUES)), st.just(0)),
        st.tuples(st.sampled_from(["base", "reopen", "damage", "delete"]), st.just(0), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_it_matches_what_the_store_says_after_every_step(make, tmp_path, steps):
    banks = {kind: make(kind, name=f"{kind}-{next(ROUND)}")[0] for kind in VALUES}
    for what, which, number in steps:
        entries = list(Entry.objects.filter(bank__in=banks.values()).select_related("bank").order_by("pk"))
        if what == "add":
            values = VALUES[which]
            services.add_entries(banks[which], [new(which, values[number % len(values)])], by="system", now=NOW)
        elif what in ("withdraw", "restore") and entries:
            entry = entries[which % len(entries)]
            getattr(services, f"{what}_entries")(entry.bank, [entry.pk], by="system", now=NOW)
        elif what == "switch":
            banks[which].refresh_from_db()
            services.change_bank(banks[which], {"active": not banks[which].active}, by="system", now=NOW)
        elif what == "base":
            current.make_base(wait=True)
        elif what == "reopen":
            current._view = None
        elif what == "damage":
            for file in Path(tmp_path).glob("known/*/*.hamming"):
                file.write_bytes(file.read_bytes()[:-100])
            current._view = None
        elif what == "delete":
            for file in Path(tmp_path).glob("known/*/*"):
                file.unlink()
        assert found() == right()
    for bank in banks.values():
        bank.refresh_from_db()
        assert bank.in_force == bank.entries.filter(withdrawn_at=None).count()
        services.change_bank(bank, {"active": False}, by="system", now=NOW)


def test_a_base_is_read_and_not_the_store(make, django_assert_max_num_queries):
    bank, _ = make("sha1", *VALUES["sha1"])
    current.make_base(wait=True)
    assert current.make_base(wait=True) is None, "nothing changed"
    for place in base.bases(current._folder()):
        opened = base.Base.open(place, quality=50)
        opened.verify()
        assert opened.size == 4
    services.add_entries(bank, [NewEntry(value="f" * 40)], by="system", now=NOW)
    shown = services.known()
    assert shown.catalog.base is not None
    assert shown.catalog.size == 1
    assert found() == right() - set(Entry.objects.filter(value="f" * 40).values_list("pk", flat=True))


def test_a_base_of_another_store_or_of_an_undone_past_is_passed_over(make):
    make("sha1", *VALUES["sha1"])
    current.make_base(wait=True)
    assert services.known().catalog.base is not None
    BankStep.objects.all().delete()  # As if the store's past were another.
    make("term")
    assert services.known().catalog.base is None
    assert found() == right()


@pytest.mark.parametrize("name", ["meta.json", "keys.npy", "pictures.hamming", "frames.hamming"])
@pytest.mark.parametrize("harm", ["cut", "empty", "gone", "other", "bits"])
def test_whatever_becomes_of_a_file_no_match_is_wrong_and_a_new_base_is_whole(make, tmp_path, name, harm):
    make("pdq", *VALUES["pdq"])
    make("sha1", *VALUES["sha1"])
    make("video", *(new("video", value) for value in VALUES["video"]))
    current.make_base(wait=True)
    (file,) = tmp_path.glob(f"known/*/{name}")
    raw = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        turned = bytes(
            byte ^ 0xFF if place % 3 == 0 and place > (20 if name == "meta.json" else 200) else byte
            for place, byte in enumerate(raw)
        )
        file.write_bytes({"cut": raw[: len(raw) // 2], "empty": b"", "other": b"<html>" + raw, "bits": turned}[harm])
    current._view = None
    assert found() <= right()
    if harm != "bits":
        assert found() == right()
    else:  # What is damaged inside is found out beside what else goes on.
        opened = list(base.bases(current._folder()))
        with pytest.raises(Exception, match=r"damaged|keys|meta|decode|JSON"):
            base.Base.open(opened[0], quality=50).verify()
        current._useless.update(opened)
    current._view = None
    bank = Entry.objects.first().bank
    services.withdraw_entries(bank, [Entry.objects.first().pk], by="system", now=NOW)
    current.make_base(wait=True)
    current._view = None
    assert found() == right()
    assert len(list(tmp_path.glob("known/*/meta.json"))) == 1


WRITER = """
import os, sys, signal, itertools
import numpy as np
from pathlib import Path
from redshank.banks import base
count, left = 6000, int(sys.argv[2])
real = os.fsync
def fsync(fd):
    global left
    left -= 1
    if left < 0: os.kill(os.getpid(), signal.SIGKILL)
    real(fd)
os.fsync = fsync
rng = np.random.default_rng(1)
hashes = rng.integers(0, 256, (count, 32), dtype=np.uint8)
ids = np.arange(count)
content = base.Forms(hashes, ids, hashes, ids, ids.astype(np.uint64), ids)
base.write(Path(sys.argv[1]), content, revision=7, quality=50)
"""


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 7])
def test_a_writer_that_is_killed_leaves_no_half_base(tmp_path, steps):
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), str(steps)], check=False, env=os.environ.copy())
    places = list(base.bases(tmp_path))
    assert (done.returncode, len(places)) in ((-signal.SIGKILL, 0), (0, 1))
    for place in places:
        base.Base.open(place, quality=50).verify()
    base.sweep(tmp_path, places[0] if places else tmp_path / "none")
    assert len(list(tmp_path.iterdir())) == len(places)


def test_a_big_store_is_put_into_a_base_first_and_then_beside_what_goes_on(make, monkeypatch):
    monkeypatch.setattr(current, "DELTA_LEAST", 50)
    monkeypatch.setattr(current, "_beside", lambda _name, what: what())
    bank, _ = make("sha1")
    many = [NewEntry(value=f"{number:040x}") for number in range(5, 300)]
    services.add_entries(bank, many[:40], by="system", now=NOW)
    assert services.known().catalog.base is None
    services.add_entries(bank, many, by="system", now=NOW)
    services.known()
    services.add_entries(bank, [NewEntry(value="e" * 40)], by="system", now=NOW)
    shown = services.known()
    assert shown.catalog.base is not None
    assert (shown.catalog.base.size, shown.catalog.size) == (295, 1)
    assert len(shown.catalog.exact([("sha1", one.value) for one in (*many, NewEntry(value="e" * 40))])) == 296


def test_a_newer_base_is_made_ready_beside_what_goes_on(make, monkeypatch):
    waiting = {}
    monkeypatch.setattr(current, "_beside", waiting.__setitem__)
    monkeypatch.setattr(current, "DELTA_LEAST", 2)
    bank, _ = make("sha1", *VALUES["sha1"][:2])
    services.known()
    current.make_base(wait=True)

    def add(number):
        return services.add_entries(bank, [NewEntry(value=VALUES["sha1"][number])], by="system", now=NOW).entries

    add(2)
    late = add(3)
    assert services.known().catalog.base is None
    assert found() == right()
    waiting.pop("known-open")()
    services.withdraw_entries(bank, late, by="system", now=NOW)
    bank, _ = make("term", "iron wolf")
    shown = services.known()
    assert shown.catalog.base is not None
    assert shown.catalog.base.size == 2
    assert found() == right()
    assert "known-open" not in waiting


def test_a_video_that_comes_again_with_other_frames_is_found_by_those(make):
    bank, _ = make("video", new("video", VALUES["video"][0]))
    (pk,) = right()
    current.make_base(wait=True)
    again = NewEntry(value=VALUES["video"][0], frames=FILMS[VALUES["video"][1]])
    for _ in range(2):
        services.withdraw_entries(bank, [pk], by="system", now=NOW)
        services.add_entries(bank, [again], by="system", now=NOW + timedelta(days=1))
        event, hashes = everything()
        seen = {where.media for where in (f.where for f in services.known().find(event, hashes))}
        assert seen == {VALUES["video"][1]}


def test_the_same_picture_in_and_beside_the_base_is_named_once(make):
    bank, _ = make("pdq", VALUES["pdq"][0])
    (pk,) = right()
    current.make_base(wait=True)
    services.withdraw_entries(bank, [pk], by="system", now=NOW)
    services.restore_entries(bank, [pk], by="system", now=NOW)
    event = post(media=(Media(id="m1"),))
    image = ImageHashes(sha256="a" * 64, md5="b" * 32, pdq=VALUES["pdq"][0], quality=100, width=1, height=1)
    assert len(services.known().find(event, {"m1": image})) == 1
