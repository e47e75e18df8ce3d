"""An index in a file: whole or refused, one writer, any number of readers, and nothing lost when a process is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from redshank.core import BadInput, Problem
from redshank.matching import HammingIndex, hamming
from redshank.matching.hamming_log import log_path


def made(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    HammingIndex.build(made(5000), np.arange(5000)).save(tmp_path / "bank.index")
    return tmp_path / "bank.index"


def damaged(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


GONE_WRONG = {
    "nothing in it": (lambda p: p.write_bytes(b""), "not an index of hashes"),
    "a web page": (lambda p: p.write_bytes(b"<!doctype html>" * 9999), "not an index of hashes"),
    "cut off in its header": (lambda p: cut(p, 100), "the file ends inside its header"),
    "cut off in the middle": (lambda p: cut(p, 1_000_000), "1000000 bytes long instead of "),
    "cut off by one byte": (lambda p: cut(p, p.stat().st_size - 1), " bytes long instead of "),
    "with something behind it": (lambda p: damaged(p, p.stat().st_size, b"x"), " bytes long instead of "),
    "of another version": (lambda p: damaged(p, 8, b"\x02"), "an index of version 2, and this Redshank reads version 1"),
    "of another byte order": (
        lambda p: damaged(p, 12, p.read_bytes()[12:16][::-1]),
        f"written on a machine of another byte order than this one ({sys.byteorder}-endian)",
    ),
    "with a bit turned in its header": (lambda p: damaged(p, 40, b"\xff"), "the header is damaged"),
    "with its offsets overwritten": (lambda p: damaged(p, 250_000, bytes(range(256))), "the bucket offsets are damaged"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "sentence"), GONE_WRONG.values(), ids=GONE_WRONG)
def test_a_file_that_is_not_whole_is_refused_by_name(path: Path, spoil, sentence: str) -> None:
    spoil(path)
    for write in (False, True):
        with pytest.raises(BadInput) as refused:
            HammingIndex.open(path, write=write)
        assert str(path) in str(refused.value)
        assert sentence in refused.value.what
        assert refused.value.hint


def test_whatever_stands_in_the_rest_of_a_file_a_search_ends_and_a_check_tells(path: Path) -> None:
    size = path.stat().st_size
    rng = np.random.default_rng(2)
    offsets_end = 4096 + 5000 * 36 + 16 * 65537 * 4 + 128
    damaged(path, offsets_end, rng.bytes(size - offsets_end))
    index = HammingIndex.open(path)
    for hash_ in made(200):
        index.search(hash_, 31)
    with pytest.raises(BadInput, match="damaged"):
        index.verify()


def test_a_check_finds_a_whole_file_whole(path: Path) -> None:
    HammingIndex.open(path).verify()


def test_no_file_is_a_problem_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"there is no index\. Write one with save\."):
        HammingIndex.open(tmp_path / "none.index")
    with pytest.raises(Problem, match=r"nowhere: there is no such folder\. Make it first\."):
        HammingIndex.build(made(1), [1]).save(tmp_path / "nowhere" / "bank.index")


def test_a_lost_log_is_refused_because_it_holds_removals(path: Path) -> None:
    with HammingIndex.open(path, write=True) as index:
        index.remove([3])
    next(path.parent.glob("*.log")).unlink()
    with pytest.raises(BadInput, match="its log is missing"):
        HammingIndex.open(path)


@pytest.mark.parametrize("at", [8, 12, 16])  # Its version, its byte order, the index it belongs to.
def test_a_log_of_another_version_machine_or_index_is_refused(path: Path, at: int) -> None:
    with HammingIndex.open(path, write=True) as index:
        index.remove([3])
    log = next(path.parent.glob("*.log"))
    there = log.read_bytes()[at : at + 4]
    damaged(log, at, there[::-1] if at == 12 else bytes([there[0] ^ 1]))
    for write in (False, True):
        with pytest.raises(BadInput, match="not the log of this index, or of another version"):
            HammingIndex.open(path, write=write)


def test_a_damaged_log_is_refused_and_an_unfinished_record_is_not(path: Path) -> None:
    hashes = made(3, 2)
    with HammingIndex.open(path, write=True) as index:
        index.add(hashes[:2], [10_000, 10_001])
        index.add(hashes[2:], [10_002])
    log = next(path.parent.glob("*.log"))
    whole = log.read_bytes()
    log.write_bytes(whole + whole[4096:4130])  # As a writer leaves it that was killed in the middle of a record.
    assert HammingIndex.open(path).search(hashes[2], 0) == [(10_002, 0)]
    with HammingIndex.open(path, write=True) as index:
        index.add(hashes[:1], [10_003])
    assert HammingIndex.open(path).search(hashes[0], 0) == [(10_000, 0), (10_003, 0)]
    damaged(log, 4096 + 30, b"\xff\xff")
    with pytest.raises(BadInput, match=r"\.log: damaged at byte 4096\. Restore it, or rebuild the index\."):
        HammingIndex.open(path)


def test_what_a_killed_writer_left_behind_is_cut_off_before_more_is_written(path: Path) -> None:
    hashes = made(2, 2)
    with HammingIndex.open(path, write=True) as index:
        index.add(hashes[:1], [10_000])
    log = next(path.parent.glob("*.log"))
    whole = log.read_bytes()
    record = whole[4096:]
    log.write_bytes(whole + b"\xff" * len(record) + record)  # The next record will fill the first gap just so.
    with HammingIndex.open(path, write=True) as index:
        index.add(hashes[1:], [10_001])
    assert HammingIndex.open(path).search(hashes[0], 0) == [(10_000, 0)]


def test_a_record_that_was_safe_before_its_writer_could_say_so_counts(path: Path) -> None:
    hashes = made(1, 2)
    with HammingIndex.open(path, write=True) as index:
        index.add(hashes, [10_000])
    log = next(path.parent.glob("*.log"))
    damaged(log, 64, (4096).to_bytes(8, sys.byteorder))  # The number in the first page, as a power cut may leave it.
    reader = HammingIndex.open(path)
    assert reader.search(hashes[0], 0) == [(10_000, 0)]
    with HammingIndex.open(path, write=True) as index:
        index.remove([10_000])
        assert reader.search(hashes[0], 0) == []


def test_a_second_writer_is_refused_until_the_first_is_gone(path: Path) -> None:
    with HammingIndex.open(path, write=True):
        for second in (
            lambda: HammingIndex.open(path, write=True),
            lambda: HammingIndex.build(made(1), [1]).save(path),
        ):
            with pytest.raises(Problem, match=r"another writer has this index open\. Only one may write at a time"):
                second()
    HammingIndex.open(path, write=True).close()


def test_a_reader_changes_nothing(path: Path) -> None:
    index = HammingIndex.open(path)
    for change in (lambda: index.add(made(1), [1]), lambda: index.remove([1]), index.merge):
        with pytest.raises(Problem, match="opened for reading"):
            change()


def test_saving_over_an_index_takes_its_readers_along(path: Path) -> None:
    reader = HammingIndex.open(path)
    assert reader.search(made(1)[0], 0) == [(0, 0)]
    HammingIndex.build(made(10, 2), np.arange(10) + 70).save(path)
    assert reader.search(made(1)[0], 0) == []
    assert reader.search(made(10, 2)[3], 0) == [(73, 0)]
    assert len(list(path.parent.iterdir())) == 3  # The index, its log, and the lock.


def test_a_merge_that_fails_loses_nothing_and_says_so(path: Path, monkeypatch) -> None:
    index = HammingIndex.open(path, write=True)
    index.add(made(1, 2), [10_000])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(Problem, match=r"could not be folded into the index.*No space left"):
            index.merge()
    assert not list(path.parent.glob("*.new"))
    for seen in (index, HammingIndex.open(path)):
        assert seen.search(made(1, 2)[0], 0) == [(10_000, 0)]
    index.merge()
    assert index.delta == 0
    index.close()


def test_where_the_disk_fails_behind_the_replacement_what_follows_is_kept_and_seen(path: Path, monkeypatch) -> None:
    reader = HammingIndex.open(path)
    index = HammingIndex.open(path, write=True)
    hashes = made(2, 2)
    index.add(hashes[:1], [10_000])

    def out_of_files(where: Path) -> None:
        if where.is_dir():
            raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(hamming, "_sync", out_of_files)
        with pytest.raises(Problem, match="Too many open files"):
            index.merge()
    index.add(hashes[1:], [10_001])
    index.remove([10_000])
    for seen in (index, reader, HammingIndex.open(path)):
        assert seen.search(hashes[0], 0) == []
        assert seen.search(hashes[1], 0) == [(10_001, 0)]
    index.close()


@pytest.mark.parametrize("in_file", [False, True])
def test_what_changes_while_a_merge_is_under_way_is_seen_at_once_and_stays(
    path: Path, in_file: bool, monkeypatch
) -> None:
    index = HammingIndex.open(path, write=True) if in_file else HammingIndex.build(made(5000), np.arange(5000))
    seers = [index, HammingIndex.open(path)] if in_file else [index]
    known, new = made(5000), made(3, 2)
    began, may_end, living = threading.Event(), threading.Event(), hamming._Snapshot.living

    def held(snapshot):
        began.set()
        assert may_end.wait(30)
        return living(snapshot)

    def right() -> None:
        for seer in seers:
            assert [seer.search(one, 0) for one in new] == [[], [(10_001, 0)], [(3, 0)]]
            assert [seer.search(known[row], 0) for row in (3, 4, 5)] == [[], [], [(5, 0)]]
            assert len(seer) == 5000

    left, put = path.parent.with_name(f"{path.parent.name}-left"), Path.replace

    def killed(file: Path, target: Path) -> Path:
        put(file, target)
        shutil.copytree(path.parent, left)  # What is there, should the writer be killed just now.
        return target

    index.add(new[:1], [10_000])
    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr(hamming._Snapshot, "living", held)
    merging = threading.Thread(target=index.merge)
    merging.start()
    assert began.wait(30)
    index.remove([10_000, 3, 4])  # One of the delta, two of the base,
    index.add(new[1:], [10_001, 3])  # and the id of one of these comes again.
    right()
    may_end.set()
    merging.join()
    assert index.delta == 2
    right()
    index.close()
    if in_file:
        seers += [HammingIndex.open(path), HammingIndex.open(left / path.name)]
    right()


READER = """
import json, sys
import numpy as np
from redshank.matching import HammingIndex
index = HammingIndex.open(sys.argv[1])
index.search(bytes(32), 31)
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(index.search(bytes.fromhex(line.strip()), 31)), flush=True)
"""


def test_readers_in_other_processes_see_each_change_with_their_next_search(path: Path) -> None:
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 3

        def ask(hash_: np.ndarray):
            for reader in readers:
                reader.stdin.write(hash_.tobytes().hex() + "\n")
                reader.stdin.flush()
            first, *others = (json.loads(reader.stdout.readline()) for reader in readers)
            assert all(other == first for other in others)
            return first

        with HammingIndex.open(path, write=True) as index:
            for k, hash_ in enumerate(made(30, 4)):
                assert ask(hash_) == []
                index.add(hash_[None], [10_000 + k])
                if k % 10 == 5:
                    index.merge()
                assert ask(hash_) == [[10_000 + k, 0]]
                if k % 3 == 0:
                    index.remove([10_000 + k])
                    assert ask(hash_) == []
                    if k % 2:
                        index.merge()
                        assert ask(hash_) == []
    finally:
        for reader in readers:
            reader.stdin.close()
            reader.wait(10)
            reader.stdout.close()


# Adds, removes and merges without end; a line goes out once a change is said to be safe.
WRITER = """
import sys
import numpy as np
from redshank.matching import HammingIndex, hamming
hamming.DELTA_LEAST = 300
index = HammingIndex.open(sys.argv[1], write=True)
start = int(sys.argv[2])
rng = np.random.default_rng(start)
k = start
while True:
    hashes = rng.integers(0, 256, (50, 32), dtype=np.uint8)
    hashes[:, :8] = np.arange(k, k + 50, dtype=np.uint64).view(np.uint8).reshape(50, 8)
    index.add(hashes, np.arange(k, k + 50))
    print("add", k, hashes.tobytes().hex(), flush=True)
    index.remove([k + 7, k + 8])
    print("remove", k + 7, flush=True)
    k += 50
"""


def test_killing_the_writer_at_any_moment_loses_nothing(path: Path) -> None:
    rng = np.random.default_rng(11)
    alive = {k: hash_.tobytes() for k, hash_ in enumerate(made(5000))}
    gone: dict[int, bytes] = {}
    start, most = 10_000, 0
    generations = set()
    reader = HammingIndex.open(path)
    for turn in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path, str(start)], stdout=subprocess.PIPE, text=True)
        said = [writer.stdout.readline()]
        assert said[0]
        until = time.monotonic() + rng.uniform(0.05, 0.5)
        # Half of the times in the middle of a merge, else whenever it comes.
        while time.monotonic() < until or (turn % 2 and not list(path.parent.glob("*.new"))):
            said.append(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        said += writer.stdout.readlines()
        writer.stdout.close()
        for line in said:
            if not line.endswith("\n"):
                continue  # It was killed while telling us.
            what, first, *rest = line.split()
            k = int(first)
            if what == "add":
                hashes = bytes.fromhex(rest[0])
                alive.update({k + j: hashes[j * 32 : j * 32 + 32] for j in range(50)})
                start = k + 50
            else:
                gone.update({j: alive.pop(j) for j in (k, k + 1)})
        # What it was doing when it was killed is done or not; it is not undone later.
        unsaid = {start - 43, start - 42} & set(alive)
        fresh = HammingIndex.open(path)
        done = {k for k in unsaid if not fresh.search(alive[k], 0)}
        gone.update({k: alive.pop(k) for k in done})
        most += 50
        for index in (reader, fresh):
            queries = np.frombuffer(b"".join(alive.values()), np.uint8).reshape(-1, 32)
            rows, found, distances = index.search_many(queries, 0)
            assert np.array_equal(rows, np.arange(len(alive)))
            assert np.array_equal(found, list(alive))
            assert not distances.any()
            assert len(alive) <= len(index) <= len(alive) + most
            assert not any(index.search(hash_, 0) for hash_ in gone.values())
        start += 1000
        generations.add(path.read_bytes()[16:32])
    assert len(generations) > 1  # Merges came to their end in between.
    HammingIndex.open(path, write=True).close()
    assert not list(path.parent.glob("*.new"))
    assert list(path.parent.glob("*.log")) == [log_path(path, path.read_bytes()[16:32])]
