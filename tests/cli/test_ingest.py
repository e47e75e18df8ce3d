"""`redshank ingest`: files by the same path, cut off at any moment, the bad set aside and the good beside it taken."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from redshank.archive.models import EventRecord
from redshank.cli import main
from redshank.intake.models import IngestFile

pytestmark = pytest.mark.django_db(transaction=True)


def line(number: int) -> bytes:
    event = {
        "id": f"e{number}", "type": "post.created", "network": "marsh", "at": "2026-01-31T12:00:00Z",
        "account": {"id": f"a{number % 7}"}, "post": {"id": f"p{number}", "text": "Good morning " * 20},
    }  # fmt: skip
    return json.dumps(event).encode()


def ingest(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["ingest", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())  # Long paths break its lines.


def test_the_good_is_taken_and_the_bad_set_aside_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    lines = [
        line(1),
        b'{"id": "x"',
        b"",
        line(2),
        line(1),
        b'{"id": "' + b"x" * 13_000_000 + b'"}',
        b"\xff\xfe",
        line(3),
    ]
    path.write_bytes(gzip.compress(b"\r\n".join(lines)))
    code, output = ingest(str(path))
    assert code == 3
    assert "3 accepted, 1 duplicates, 3 rejected" in output
    aside = [json.loads(row) for row in (tmp_path / "events.jsonl.gz.rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in aside] == [2, 6, 7]
    assert "12,582,912 are the most" in aside[1]["reason"]
    assert ingest(str(path))[0] == 0  # All was read before.
    code, output = ingest("--again", str(path))
    assert "0 accepted, 4 duplicates, 3 rejected" in output
    assert len((tmp_path / "events.jsonl.gz.rejected.jsonl").read_text().splitlines()) == 3
    assert EventRecord.objects.count() == 3


def test_a_file_that_grew_is_gone_on_with_and_a_broken_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grows.jsonl"
    path.write_bytes(b"".join(line(n) + b"\n" for n in range(300)))
    assert "300 accepted" in ingest(str(path))[1]
    with path.open("ab") as file:
        file.write(line(300) + b"\n")
    output = ingest(str(path))[1]
    assert "going on after line 300" in output
    assert "1 accepted, 0 duplicates" in output
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(b"".join(line(n) + b"\n" for n in range(400, 4000)))[:-300])
    code, output = ingest(str(broken))
    assert code == 1
    assert "broken after line" in output
    assert EventRecord.objects.count() > 301


def test_killed_at_any_moment_it_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join((line(n) if n % 50 else b"not json") + b"\n" for n in range(12_000)))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDSHANK_")}
    environ |= {"REDSHANK_DATA_DIR": str(tmp_path / "data"), "REDSHANK_INGEST_BATCH": "100"}
    redshank = [sys.executable, "-m", "redshank.cli"]
    subprocess.run([*redshank, "migrate"], env=environ, check=True, capture_output=True)
    store = tmp_path / "data" / "redshank.sqlite3-wal"
    for _ in range(3):
        process = subprocess.Popen([*redshank, "ingest", str(path)], env=environ, stdout=subprocess.DEVNULL)
        before = store.stat().st_size if store.exists() else 0
        for _ in range(200):
            time.sleep(0.05)
            if process.poll() is not None or (store.exists() and store.stat().st_size > before + 300_000):
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = subprocess.run([*redshank, "ingest", str(path)], env=environ, capture_output=True, text=True)
    assert last.returncode in (0, 3), last.stderr
    aside = [json.loads(row)["line"] for row in path.with_name("many.jsonl.rejected.jsonl").read_text().splitlines()]
    assert aside == [n + 1 for n in range(0, 12_000, 50)]
    counted = [
        sys.executable, "-c",
        "import django; django.setup(); from redshank.archive.models import EventRecord as E; print(E.objects.count())",
    ]  # fmt: skip
    environ["DJANGO_SETTINGS_MODULE"] = "redshank.web.settings"
    found = subprocess.run(counted, env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(12_000 - 240)


def test_a_mark_belongs_to_one_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(line(1) + b"\n")
        ingest(str(tmp_path / name))
    assert sorted(IngestFile.objects.values_list("accepted", "duplicates")) == [(0, 1), (1, 0)]
