"""A worker killed while it seeks parts in the past goes on where it was, and finds each once: real processes, real kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.processes import call, running, store

MANY = 24


@pytest.mark.django_db
def test_kill_9_while_looking_back_for_parts(tmp_path: Path) -> None:
    with store(tmp_path) as environ:
        call("redshank.cli", "migrate", environ=environ)
        call("tests.banks.parts_worker", "fill", str(MANY), environ=environ)
        marks: list[list[int | None]] = []
        for steps in (1, 2):
            with running("-m", "tests.banks.parts_worker", "work", environ=environ) as worker:
                assert worker.stdout is not None
                marks += [json.loads(worker.stdout.readline()) for _ in range(steps)]
                worker.send_signal(signal.SIGKILL)
                assert worker.wait() == -signal.SIGKILL
        marks += map(json.loads, call("tests.banks.parts_worker", "work", environ=environ).splitlines())
        report = json.loads(call("tests.banks.parts_worker", "report", environ=environ))
    *rows, end = marks
    assert end == [None]
    # All entries together, from the newest thing seen back, and nothing again that a worker before had done.
    assert rows == sorted(rows, reverse=True)
    assert all(len(one) == 1 for one in rows)
    assert len({one[0] for one in rows}) == len(rows) <= MANY // 3
    shown = [f"e{at}" for at in range(0, MANY, 2)]
    assert report["found"] == sorted(f"event:marsh/{one}" for one in shown)
    assert report["cases"] == sorted(f"p-{one}" for one in shown)
    assert report["sought"] == 2
