"""A worker that is killed in the middle of delivering loses nothing and does nothing twice: real processes, real kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from django.db import connection

ROOT = Path(__file__).parents[2]
MANY = 150


@contextmanager
def store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a fresh store, on the kind of store that the tests run on."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDSHANK_")}
    environ |= {"REDSHANK_DATA_DIR": str(tmp_path / "data"), "DJANGO_SETTINGS_MODULE": "redshank.web.settings"}
    environ |= {"REDSHANK_LOG_LEVEL": "error"}
    if connection.vendor != "postgresql":
        yield environ
        return
    at = connection.settings_dict
    name = f"kill_{uuid.uuid4().hex}"
    address = f"postgresql://{at['USER']}@{at['HOST']}:{at['PORT']}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield {**environ, "REDSHANK_DATABASE": f"{address}/{name}"}
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(*args: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, *args], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.django_db
def test_kill_9_while_delivering(tmp_path: Path) -> None:
    with store(tmp_path) as environ:

        def call(*args: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", *args], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        platform = ("-m", "examples.platform", "--port", "0", "--store", str(tmp_path / "marsh.sqlite3"), "--secret")
        call("redshank.cli", "migrate")
        secret = call("tests.examples.worker", "ask", str(MANY), "http://127.0.0.1:9/redshank").strip()
        with running(*platform, secret, environ=environ) as marsh:
            assert marsh.stdout is not None
            url = re.findall(r"http://\S+", marsh.stdout.readline())[0]
            httpx.post(f"{url}/accounts", json=[{"id": f"a{n}"} for n in range(MANY)]).raise_for_status()
            assert call("tests.examples.worker", "ask", "0", f"{url}/redshank").strip() == secret

            def summary() -> dict[str, int]:
                numbers: dict[str, int] = httpx.get(f"{url}/summary.json").json()
                return numbers

            ahead = 0
            for kill_at in (1, MANY // 2):
                with running("-m", "tests.examples.worker", "deliver", str(ahead), environ=environ) as worker:
                    until = time.monotonic() + 60
                    while summary()["actions"] < kill_at and time.monotonic() < until:
                        time.sleep(0.005)
                    worker.send_signal(signal.SIGKILL)
                    assert worker.wait() == -signal.SIGKILL
                assert summary()["actions"] < MANY
                ahead += 60  # Beyond the lease of the worker that is gone.
            call("tests.examples.worker", "deliver", str(ahead))
            numbers = summary()
        report = json.loads(call("tests.examples.worker", "report"))
    # Each was done once, and said to be confirmed once, however often it was asked for.
    assert report == {"states": {"confirmed": MANY}, "confirmations": MANY, "of": MANY}
    assert (numbers["actions"], numbers["suspended"]) == (MANY, MANY)
    assert numbers["requests"] >= MANY
    assert numbers["untold"] == 2 * MANY  # account.created and account.suspended, once each.
