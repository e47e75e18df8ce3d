"""A worker killed while it gathers and asks loses nobody and asks nobody twice: real processes, real kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.processes import call, running, store

MANY = 12


@pytest.mark.django_db
def test_kill_9_while_gathering_and_asking(tmp_path: Path) -> None:
    with store(tmp_path) as environ:
        call("redshank.cli", "migrate", environ=environ)
        call("tests.evasion.worker", "fill", str(MANY), environ=environ)
        ahead = 0
        for steps in (1, 8):
            with running("-m", "tests.evasion.worker", "work", str(ahead), environ=environ) as worker:
                assert worker.stdout is not None
                for _ in range(steps):
                    assert worker.stdout.readline()
                worker.send_signal(signal.SIGKILL)
                assert worker.wait() == -signal.SIGKILL
            ahead += 150  # Beyond the lease of the worker that is gone.
        assert call("tests.evasion.worker", "work", str(ahead), environ=environ)  # It had not come to the end.
        report = json.loads(call("tests.evasion.worker", "report", environ=environ))
    everybody = sorted(f"n{number}" for number in range(MANY))
    assert report["gathered"] == {name: [20, 8] for name in everybody}
    assert report["tied"] == [[name, "likely"] for name in everybody]
    assert report["cases"] == everybody
    # Nothing is said twice: once that a tie is possible at most, once that it is likely.
    assert len({tuple(one) for one in report["said"]}) == len(report["said"])
    assert [one for one in report["said"] if one[1] == "likely"] == report["tied"]
    assert report["waiting"] == 0
    # An owner and who came back; an owner alone; a suspended account alone: each counted once.
    assert report["usual"] == pytest.approx([2, 2, 1, 1], abs=0.3)
