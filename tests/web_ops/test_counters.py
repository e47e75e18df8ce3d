"""Counters across processes: added up, folded when a process ends, never lost, and harmless on a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COUNT = """
import sys
from redshank import counters
counters.count_answers([("marsh", "post.created", "accepted")] * int(sys.argv[1]), seconds=0.01, actor="key:a")
"""
SHOW = """
from redshank import counters
print(counters.fold())
print(counters.exposition().decode())
"""


def run(code: str, folder: Path, *words: str, limit: str = "") -> subprocess.CompletedProcess[str]:
    shell = f"{limit} exec {sys.executable} -c '{code}' {' '.join(words)}"
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.run(["/bin/sh", "-c", shell], env=environ, capture_output=True, text=True, timeout=60)


def counted(shown: str) -> float:
    lines = [line for line in shown.splitlines() if line.startswith("redshank_events_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_what_ended_processes_counted_is_kept_and_their_files_are_not(tmp_path: Path) -> None:
    for number in ("3", "4", "5"):
        assert run(COUNT, tmp_path, number).returncode == 0
    before = {path.name for path in tmp_path.glob("counter_*.db")}
    assert len(before) == 3
    first = run(SHOW, tmp_path)
    assert counted(first.stdout) == 12
    assert first.stdout.startswith("6\n")
    assert [path.name for path in tmp_path.glob("counter_*.db")] == ["counter_past.db"]
    run(COUNT, tmp_path, "1")
    assert counted(run(SHOW, tmp_path).stdout) == 13


def test_a_process_that_lives_is_not_folded(tmp_path: Path) -> None:
    code = COUNT + "\nprint(counters.fold(), flush=True)\nsys.stdin.read()"
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    living = subprocess.Popen(
        [sys.executable, "-c", code, "7"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert living.stdout is not None
        assert living.stdout.readline() == "0\n"
        shown = run(SHOW, tmp_path).stdout
        assert shown.startswith("0\n")
        assert counted(shown) == 7
    finally:
        living.communicate("")


def test_without_room_nothing_is_counted_and_nobody_dies(tmp_path: Path) -> None:
    full = run(COUNT, tmp_path, "3", limit="trap '' XFSZ; ulimit -f 8;")  # no file above 4 KiB
    assert full.returncode == 0, full.stderr
    assert counted(run(SHOW, tmp_path).stdout) == 0
