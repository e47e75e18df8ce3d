"""A worker that is killed in the middle of delivering loses nothing and does nothing twice: real processes, real kill."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.processes import call, running, store

MANY = 150


@pytest.mark.django_db
def test_kill_9_while_delivering(tmp_path: Path) -> None:
    with store(tmp_path) as environ:
        platform = ("-m", "examples.platform", "--port", "0", "--store", str(tmp_path / "marsh.sqlite3"), "--secret")
        call("redshank.cli", "migrate", environ=environ)
        secret = call("tests.examples.worker", "ask", str(MANY), "http://127.0.0.1:9/redshank", environ=environ).strip()
        with running(*platform, secret, environ=environ) as marsh:
            assert marsh.stdout is not None
            url = re.findall(r"http://\S+", marsh.stdout.readline())[0]
            httpx.post(f"{url}/accounts", json=[{"id": f"a{n}"} for n in range(MANY)]).raise_for_status()
            assert call("tests.examples.worker", "ask", "0", f"{url}/redshank", environ=environ).strip() == secret

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
            call("tests.examples.worker", "deliver", str(ahead), environ=environ)
            numbers = summary()
        report = json.loads(call("tests.examples.worker", "report", environ=environ))
    # Each was done once, and said to be confirmed once, however often it was asked for.
    assert report == {"states": {"confirmed": MANY}, "confirmations": MANY, "of": MANY}
    assert (numbers["actions"], numbers["suspended"]) == (MANY, MANY)
    assert numbers["requests"] >= MANY
    assert numbers["untold"] == 2 * MANY  # account.created and account.suspended, once each.
