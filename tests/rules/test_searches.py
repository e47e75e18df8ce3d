"""A search that runs ends when its person says so, when they ask something else, and when its time is up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from redshank.core import Problem
from redshank.rules import searches
from redshank.rules.search import Limits, Question

BUSY = "import sys, time; sys.stdin.buffer.read(); time.sleep(600)"


@pytest.fixture(autouse=True)
def processes(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Those that were started; none of them ever answers."""
    settings.DATA_DIR = tmp_path
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(searches, "_ready", [])
    monkeypatch.setattr(searches, "_start", start)
    yield started
    for process in started:
        searches._close(process)


def in_a_thread(by: str = "lee") -> tuple[threading.Thread, list[Problem]]:
    ended: list[Problem] = []

    def ask() -> None:
        try:
            searches.answer(Question(), by=by)
        except Problem as problem:
            ended.append(problem)
        finally:
            connections.close_all()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread, ended


def until_it_runs(processes: list[subprocess.Popen[bytes]], number: int) -> None:
    while len(processes) < number or not all(process.stdin and process.stdin.closed for process in processes[:number]):
        time.sleep(0.02)


@pytest.mark.django_db(transaction=True)
def test_a_search_is_stopped_by_its_person_from_whichever_process(processes: list[subprocess.Popen[bytes]]) -> None:
    thread, ended = in_a_thread()
    until_it_runs(processes, 1)
    searches.stop("somebody else")
    thread.join(0.5)
    assert thread.is_alive()
    place = str(searches._spill().parent)
    said = f"import django; django.setup(); from django.conf import settings; settings.DATA_DIR = {place!r}; "
    stop = "from redshank.rules import searches; searches.stop('lee')"
    subprocess.run([sys.executable, "-c", said + stop], check=True, timeout=60)
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(ended[0], searches.Superseded)
    assert processes[0].poll() is not None
    searches.stop("lee")  # Where none runs, nothing changes.


@pytest.mark.django_db(transaction=True)
def test_a_second_search_ends_the_first_of_the_same_person_alone(processes: list[subprocess.Popen[bytes]]) -> None:
    (first, ended), (other, others) = in_a_thread(), in_a_thread("ada")
    until_it_runs(processes, 2)
    in_a_thread()
    first.join(30)
    assert isinstance(ended[0], searches.Superseded)
    assert (other.is_alive(), others) == (True, [])
    searches.stop("lee")
    searches.stop("ada")
    other.join(30)
    assert not other.is_alive()


@pytest.mark.django_db(transaction=True)
def test_a_search_whose_process_says_nothing_ends_when_its_time_is_up(
    processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "limits", lambda: Limits(seconds=0.2))
    monkeypatch.setattr(searches, "GRACE", 0.2)
    with pytest.raises(Problem, match="before it had an answer") as caught:
        searches.answer(Question(), by="lee")
    assert not isinstance(caught.value, searches.Superseded)
    assert processes[0].poll() is not None


@pytest.mark.django_db
def test_what_a_killed_server_left_on_the_disk_goes() -> None:
    spill = searches._spill()
    for name, hours in (("search-old", 2), ("search-new", 0)):
        (spill / name).mkdir()
        (spill / name / "part").write_bytes(b"x")
        os.utime(spill / name, (time.time() - 3600 * hours,) * 2)
    assert [place.name for place in searches._spill().glob("search-*")] == ["search-new"]
