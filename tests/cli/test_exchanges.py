"""`redshank exchanges` against a server here, as people run it, and killed in the middle of taking a list over."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.test_processes import REDSHANK, environ
from tests.exchanges.conftest import md5
from tests.exchanges.servers import Server

pytestmark = pytest.mark.xdist_group("processes")
ROWS = 24_000


@pytest.fixture
def source() -> Iterator[tuple[Server, list[str]]]:
    lines = ["md5,label", *(f"{md5(number)},made up" for number in range(1, ROWS + 1)), "zz,made up"]
    server = Server(lambda request: (200, {}, "\n".join(lines).encode()))
    yield server, lines
    server.close()


def test_a_list_is_looked_at_taken_over_held_released_and_shared(
    source: tuple[Server, list[str]], tmp_path: Path
) -> None:
    server, lines = source
    env = {**environ(tmp_path), "REDSHANK_EXCHANGES_PRIVATE": server.host}

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run([*REDSHANK, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return re.sub(r"\s+", " ", done.stdout + done.stderr)

    def store(query: str) -> int:
        with closing(sqlite3.connect(tmp_path / "redshank.sqlite3", timeout=30)) as db, db:
            found = db.execute(query).fetchone()
            return found[0] if found else 0

    run("migrate")
    run("banks", "make", "files", "--kind", "md5", "--policy", "terrorist-content", "--severity", "3")
    run("banks", "set", "files", "--license", "Members")
    run("exchanges", "add", "peer", "--kind", "csv", "--bank", "files", "--address", server.url)
    said = run("exchanges", "run", "peer", "--dry-run")
    assert f"{ROWS:,} new" in said
    assert "1 set aside" in said
    assert store("SELECT count(*) FROM banks_entry") == 0

    with subprocess.Popen([*REDSHANK, "worker"], env=env, cwd=tmp_path, stderr=subprocess.DEVNULL) as worker:
        until = time.monotonic() + 120
        while not store("SELECT applied FROM exchanges_run") and time.monotonic() < until:
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)
    there = store("SELECT count(*) FROM banks_entry")
    assert 0 < there <= ROWS
    assert "a worker is asking it just now" in run("exchanges", "run", "peer", code=1)
    store("UPDATE exchanges_exchange SET leased_until = '2020-01-01 00:00:00' RETURNING 1")
    run("exchanges", "run", "peer", code=3)
    for table in ("banks_entry", "exchanges_claim", "banks_opinion"):
        assert store(f"SELECT count(*) FROM {table}") == ROWS
    assert store("SELECT in_force FROM banks_bank") == ROWS
    assert store("SELECT count(*) FROM exchanges_setaside") == 1 == store("SELECT count(*) FROM exchanges_run")
    added = "SELECT sum(json_extract(body, '$.count')) FROM audit_entry WHERE step = 'entry.added'"
    assert store(added) == ROWS

    lines[1:] = [md5(ROWS + 1)]
    assert "held for a person" in run("exchanges", "run", "peer", code=4)
    assert f"withdraws all {ROWS:,} things" in run("exchanges", "status", "peer")
    assert "released" in run("exchanges", "release", "peer")
    assert f"{ROWS:,} withdrawn" in run("exchanges", "run", "peer")
    assert store("SELECT in_force FROM banks_bank") == 1
    assert "0 entries, 0 withdrawn" in run("exchanges", "share", "circle", "--bank", "files")
