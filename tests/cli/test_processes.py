"""`redshank serve` and `redshank worker` as processes and as a loop: they refuse what cannot go well, and outlive what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from redshank.cli import worker
from redshank.demo.stage import Stage, free_ports

REDSHANK = [sys.executable, "-m", "redshank.cli"]
pytestmark = pytest.mark.xdist_group("processes")


def environ(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDSHANK_", "PROMETHEUS_"))}
    return {**kept, "REDSHANK_DATA_DIR": str(folder)}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*REDSHANK, *words], env=environ(folder), cwd=folder, capture_output=True, text=True, timeout=60
    )


@contextmanager
def serving(folder: Path, *, at_most: int = 0) -> Iterator[str]:
    """A server on the data in `folder`; with `at_most`, no file of its may grow beyond so many KiB."""
    (port,) = free_ports(1)
    limit = f"ulimit -f {at_most}; " if at_most else ""
    words = ["/bin/bash", "-c", f'{limit}exec "$@"', "-", *REDSHANK, "serve", "--port", str(port)]
    with Stage(folder / "logs", environ(folder)) as stage:
        stage.start("serve", words, cwd=folder)
        stage.wait_for("serve", f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_on_a_store_that_is_behind_they_say_what_to_run(command: str, tmp_path: Path) -> None:
    done = run(tmp_path, command)
    assert done.returncode == 1
    assert "Run `redshank migrate`." in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_full_disk_the_sender_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").returncode == 0
    key = run(tmp_path, "keys", "add", "marsh", "--network", "marsh").stdout.strip()
    used = sum(path.stat().st_size for path in tmp_path.glob("redshank.sqlite3")) // 1024

    def event(number: int) -> dict[str, object]:
        post = {"id": f"p-{number}", "text": "mud " * 5000}
        return {
            "id": f"e-{number}", "type": "post.created", "network": "marsh", "at": "2026-01-31T12:00:00Z",
            "account": {"id": "a-1"}, "post": post,
        }  # fmt: skip

    def send(home: str, number: int) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(f"{home}/api/v1/events", json=event(number), headers=headers, timeout=60)

    accepted: set[int] = set()
    refused: list[httpx.Response] = []
    with serving(tmp_path, at_most=used + 300) as home:
        for number in range(60):
            answer = send(home, number)
            if answer.status_code == 200:
                accepted.add(number)
            else:
                refused.append(answer)
        assert httpx.get(f"{home}/healthz").text == "ok\n"  # it lives
    assert accepted
    assert refused
    assert {answer.status_code for answer in refused} <= {503, 507}
    for answer in refused:
        assert "Nothing of this request was taken; send it again later." in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0

    with serving(tmp_path) as home:  # Room again: what was accepted is there, what was not can be sent.
        for number in range(60):
            (told,) = send(home, number).json()["answers"]
            assert told["status"] == ("duplicate" if number in accepted else "accepted")
    assert "Traceback" not in "".join(path.read_text() for path in (tmp_path / "logs").glob("*.log"))


def test_a_taken_port_is_said_in_words(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    with serving(tmp_path) as home:
        done = run(tmp_path, "serve", "--port", home.rpartition(":")[2])
    assert done.returncode == 1
    assert "something else listens there already" in done.stderr


def test_a_worker_ends_at_once_when_asked_and_once_means_once(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    assert run(tmp_path, "worker", "--once").returncode == 0
    process = subprocess.Popen(
        [*REDSHANK, "worker"], cwd=tmp_path, env={**environ(tmp_path), "REDSHANK_LOG_FORMAT": "json"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert json.loads(process.stderr.readline())["message"] == "worker.started"
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["message"] == "worker.ended"


@pytest.mark.django_db
def test_no_error_ends_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TROUBLE", (0.001, 0.004))
    stop = threading.Event()
    seen: list[str] = []

    class Job(worker._Job):
        name = "test"
        idle = (0.001, 0.001)
        made = 0

        def __init__(self) -> None:
            Job.made += 1
            if Job.made == 1:
                raise OSError("no child process today")

        def step(self) -> int:
            seen.append("step")
            if len(seen) in (1, 2, 4):
                raise ValueError("a bad row")
            if len(seen) == 6:
                stop.set()
            return len(seen) % 2

        def close(self) -> None:
            seen.append("closed")

    worker._keep_at(Job, stop, once=False)
    assert seen == ["step"] * 6 + ["closed"]
