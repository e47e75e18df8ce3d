"""The whole loop for real: server, worker and platforms as processes, killed and started again while events are played."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from redshank.demo.stage import Stage, free_ports
from redshank.demo.world import NETWORKS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("demo")


def eventually(what: Callable[[], bool], seconds: float, process: subprocess.Popen[str] | None = None) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end or (process and process.poll() is not None):
            return what()
        time.sleep(0.1)
    return True


def command_lines() -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_nothing_is_lost_and_nothing_done_twice_though_server_and_worker_are_killed(tmp_path: Path) -> None:
    place, told = tmp_path / "demo", tmp_path / "summary.json"
    (port,) = free_ports(1)
    words = ["demo", "--rough", "--events", "400", "--seed", "5", "--port", str(port)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("REDSHANK_", "PROMETHEUS_"))}
    demo = subprocess.Popen(
        [sys.executable, "-m", "redshank.cli", *words, "--dir", str(place), "--json-summary", str(told)],
        cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A shell that runs us in the background has Ctrl-C ignored, which a child would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - takes no lock
    )  # fmt: skip
    try:
        assert eventually(told.exists, 240, demo), demo.communicate()[0]
        # Now it serves, to look around in.
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").json()["ready"] is True
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True).status_code == 200
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
    summary = json.loads(told.read_text())
    assert summary["faults"] == [], output
    assert demo.returncode == 0, output

    assert summary["events"] == 400
    assert (summary["lost"], summary["twice"]) == (0, 0)
    assert summary["killed"] == 5
    assert summary["done_twice"] == 0
    assert set(summary["actions"]) <= {"confirmed", "canceled"}
    assert summary["actions"]["confirmed"] == sum(summary["done_by_platforms"].values())
    assert {"remove", "suspend", "restore"} <= set(summary["done_by_platforms"])
    planted = {(line["kind"], line["way"]): line for line in summary["planted"]}
    assert all(line["found"] == line["planted"] for line in planted.values() if line["must"])
    assert not planted["picture", "a caption bar over it"]["must"]  # it does not pretend
    assert {kind for kind, _ in planted} == {"picture", "video", "words", "link", "report", "campaign", "return"}
    assert summary["false_alarms"] == summary["named_acted_on"] == 0
    assert summary["innocent_pictures"] > 1

    # What was counted survives the kills of those who counted: at least what one life of each saw.
    assert 'redshank_events_total{network="marsh",outcome="accepted",type="post.created"}' in metrics
    assert "redshank_media_walk_seconds_count" in metrics
    assert 'redshank_actions{state="confirmed",verb="remove"}' in metrics
    # The event's key stands on the lines of its walk, what it said on none.
    logs = (place / "logs" / "worker.log").read_text()
    walked = [json.loads(line) for line in logs.splitlines() if '"event.walked"' in line]
    assert len(walked) > 20
    assert all(entry["event_key"].split("/")[0] in NETWORKS for entry in walked)
    assert "brigade" not in logs
    assert "Traceback" not in logs
    assert "Sign in as one of these" in output
    assert eventually(lambda: not any(str(place) in line for line in command_lines()), 5)


ORPHANS = """
import os, sys, time
from pathlib import Path
from redshank.demo.stage import Stage
with Stage(Path(sys.argv[1]), dict(os.environ)) as stage:
    stage.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent ended")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_the_demo(number: signal.Signals, tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    assert any("time.sleep(600)" in line and str(tmp_path) in line and "Stage" not in line for line in command_lines())
    parent.send_signal(number)
    parent.wait(10)
    assert eventually(lambda: not any(str(tmp_path) in line for line in command_lines()), 10)


def test_a_process_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    code = "print('no room at the inn'); raise SystemExit(3)"
    with Stage(tmp_path, dict(os.environ)) as stage:
        stage.start("inn", [sys.executable, "-c", code])
        with pytest.raises(Exception, match=r"inn ended by itself \(exit code 3\)[\s\S]*no room at the inn"):
            stage.wait(lambda: False, "never", patience=20)
