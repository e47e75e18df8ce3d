"""The shared workload, five seeds: the rules of bench/rules must give its answers, exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from redshank.cli import main

ROOT = Path(__file__).parents[2]
MAKER = ROOT.parent / "shared" / "bench" / "rules" / "make_workload.py"


@pytest.mark.skipif(not MAKER.exists(), reason="the shared workload is not beside the repository")
@pytest.mark.parametrize("seed", range(7, 12))
def test_the_answers_are_exact(tmp_path, seed):
    made = subprocess.run(
        [sys.executable, MAKER, tmp_path, "--seed", str(seed)], check=True, capture_output=True, timeout=60
    )
    assert b"2000 events" in made.stdout
    options = [f"--{name}={tmp_path / file}" for name, file in
               {"events": "events.jsonl", "lists": "lists.json", "labels": "labels.json", "out": "out.jsonl"}.items()]  # fmt: skip
    done = CliRunner().invoke(main, ["rules", "run", str(ROOT / "bench" / "rules" / "workload.yaml"), *options])
    assert done.exit_code == 0, done.output
    answers, expected = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("out.jsonl", "expected.jsonl")
    )
    assert answers == expected
    assert sum(bool(answer["rules"]) for answer in answers) > 100
