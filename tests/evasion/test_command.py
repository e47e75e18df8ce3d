"""`redshank evasion` fits on files and scores files, and says what is wrong with those that it cannot read."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from redshank.cli import main
from redshank.evasion import Profile
from tests.evasion.worlds import again, person, suspended

PEOPLE = suspended(600)


def table(profiles: list[Profile], owners: dict[int, int] | None = None) -> pa.Table:
    words = [np.frombuffer(profile.avatar, ">u8") for profile in profiles]
    columns = {
        "account_id": [p.number for p in profiles],
        "handle": [p.handle for p in profiles],
        "display_name": [p.display_name for p in profiles],
        "bio": [p.bio for p in profiles],
        **{f"a{i}": pa.array([int(word[i]) for word in words], pa.uint64()) for i in range(4)},
        "follow_ids": pa.array([[int(f) for f in p.follows] for p in profiles], pa.list_(pa.uint32())),
        "device": [p.tokens[0].value for p in profiles],
        "hours": pa.array([list(p.hours) for p in profiles], pa.list_(pa.uint16())),
        "created_at": [p.created_at for p in profiles],
        "ended_at": [p.ended_at for p in profiles],
    }
    if owners is not None:
        columns["owner"] = [owners[p.number] for p in profiles]
    return pa.table(columns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    new = [again(old, 10_000 + old.number) for old in PEOPLE[:80]]
    new += [person(random, 20_000 + at, at % 12) for at in range(200)]
    pq.write_table(table(PEOPLE, {p.number: p.number for p in PEOPLE}), tmp_path / "suspended.parquet")
    pq.write_table(table(new), tmp_path / "new.parquet")
    lines = [
        f"{p.number},return_low,{p.number - 10_000},1" if p.number < 20_000 else f"{p.number},benign,-1,-1" for p in new
    ]
    (tmp_path / "truth.csv").write_text("\n".join(["account_id,kind,owner,source", *lines]) + "\n")
    return tmp_path


@pytest.mark.parametrize("scorer", ["additive", "gbt"])
def test_fit_then_score(folder: Path, scorer: str) -> None:
    options = ["--out", str(folder / "model.json"), "--rate", "0.2", "--scorer", scorer]
    run = CliRunner().invoke(main, ["evasion", "fit", str(folder), *options])
    assert run.exit_code == 0, run.output
    assert "by script: latin" in run.output
    pq.write_table(pq.read_table(folder / "suspended.parquet").drop(["owner"]), folder / "plain.parquet")
    (folder / "truth.csv").unlink()
    files = ["--suspended", str(folder / "plain.parquet"), "--new", str(folder / "new.parquet")]
    run = CliRunner().invoke(
        main, ["evasion", "score", *files, "--model", str(folder / "model.json"), "--out", str(folder / "r.csv")]
    )
    assert run.exit_code == 0, run.output
    with (folder / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = {}
    for row in sorted(rows, key=lambda row: float(row["probability"])):
        best[int(row["account_id"])] = int(row["match_account_id"]), row["band"]
    assert sum(best.get(10_000 + p.number) == (p.number, "likely") for p in PEOPLE[:80]) >= 72
    assert not any(band == "likely" for number, (_, band) in best.items() if number >= 20_000)


def test_score_needs_no_model_and_takes_files_with_few_columns(folder: Path) -> None:
    for name in ("suspended", "new"):
        few = pq.read_table(folder / f"{name}.parquet", columns=["account_id", "handle"])
        pq.write_table(few, folder / f"few-{name}.parquet")
    files = ["--suspended", str(folder / "few-suspended.parquet"), "--new", str(folder / "few-new.parquet")]
    run = CliRunner().invoke(main, ["evasion", "score", *files, "--out", str(folder / "r.csv")])
    assert run.exit_code == 0, run.output
    assert run.output.startswith("0 of 280")  # A handle alone ties nobody.


def test_files_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / "bad.parquet").write_bytes(b"no parquet at all")
    pq.write_table(pa.table({"handle": ["heron"]}), folder / "no-ids.parquet")
    pq.write_table(pa.table({"account_id": [1], "follow_ids": ["heron"]}), folder / "wrong.parquet")
    for name in ("bad", "no-ids", "wrong"):
        files = ["--suspended", str(folder / f"{name}.parquet"), "--new", str(folder / "new.parquet")]
        run = CliRunner().invoke(main, ["evasion", "score", *files, "--out", str(folder / "r.csv")])
        assert run.exit_code == 1
        assert f"{name}.parquet" in run.output
        assert "Traceback" not in run.output
