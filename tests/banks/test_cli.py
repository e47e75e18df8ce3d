from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from redshank.banks import services
from redshank.cli import main
from redshank.core import Media
from redshank.core.settings import MediaSettings
from redshank.media import Hasher
from tests.banks.conftest import posted

IMAGES = Path(__file__).parents[3] / "shared" / "data" / "media" / "images"

pytestmark = pytest.mark.django_db


def run(*words):
    return CliRunner().invoke(main, ["banks", *map(str, words)])


def test_a_bank_from_making_to_withdrawing(tmp_path):
    assert "No banks yet" in run("list").output
    assert run("make", "slogans", "--kind", "term", "--policy", "recruitment", "--severity", 2).exit_code == 0
    assert (
        run("add", "slogans", "Iron  Wolf", "grey heron", "--label", "a slogan").output == "slogans: added 2 entries.\n"
    )
    file = tmp_path / "more.csv"
    file.write_text("value,label\nred fox,x\n,\niron wolf,\n")
    done = run("import", "slogans", file)
    assert done.exit_code == 3
    assert "added 1 entry, 1 known already." in done.output
    assert "line 3: empty" in done.output
    assert (tmp_path / "more.csv.rejected.csv").read_text().splitlines()[1].startswith('3,,"empty')
    assert run("withdraw", "slogans", "IRON WOLF", "--by", "ada").output == "Withdrew 1 entry of slogans.\n"
    shown = run("show", "slogans").output
    assert "grey heron" in shown
    assert "iron wolf" not in shown
    assert "withdrawn" in run("show", "slogans", "--withdrawn").output
    assert "recruitment" in run("list").output
    back = run("restore", "slogans", "iron wolf", "grey heron", "--reason", "it is one after all")
    assert back.output == "Brought back 1 entry of slogans. 1 were in force.\n"
    assert "iron wolf" in run("show", "slogans").output


def test_a_bank_is_set_and_sought_in_the_past(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    run("make", "pictures", "--kind", "pdq", "--policy", "recruitment", "--severity", 5)
    done = run("set", "pictures", "--limit", 12, "--severity", 5, "--languages", "", "--by", "ada")
    assert done.output == "pictures: limit was None, is 12.\n"
    assert run("set", "pictures", "--limit", 12).output == "pictures is as it was.\n"
    assert run("set", "pictures", "--surge", 0).output == "pictures: surge was None, is 0.\n"
    assert "0 to 31 bits" in run("set", "pictures", "--limit", 40).output
    run("add", "pictures", "0f" * 32)
    assert "pictures: 1 entry sought in the past." in run("lookback", "pictures").output
    run("make", "slogans", "--kind", "term", "--policy", "recruitment", "--severity", 2)
    run("set", "pictures", "--paused")
    assert "switched off" in run("lookback", "pictures").output
    assert "Those of files are." in run("lookback", "slogans").output


def test_errors_are_for_people():
    run("make", "slogans", "--kind", "term", "--policy", "recruitment", "--severity", 2)
    for words, said in (
        (("show", "slogan"), "slogan: no such bank. Did you mean slogans?"),
        (("add", "slogans"), "slogans: nothing to add. Give values, or files with --file."),
        (("withdraw", "slogans", "7"), "7: no such entry in this bank."),
        (("make", "x", "--kind", "trem", "--policy", "recruitment", "--severity", 2), "no such kind of bank"),
    ):
        done = run(*words)
        assert done.exit_code == 1
        assert said in done.output
        assert "Traceback" not in done.output


@pytest.mark.skipif(not IMAGES.exists(), reason=f"no pictures in {IMAGES}")
def test_a_picture_is_hashed_and_its_copies_are_found(tmp_path):
    run("make", "pictures", "--kind", "pdq", "--policy", "terrorist-content", "--severity", 4)
    (tmp_path / "no.jpg").write_bytes(b"not a picture")
    done = run("add", "pictures", "--file", IMAGES / "bridge-aaa-orig.jpg", "--file", tmp_path / "no.jpg")
    assert done.exit_code == 3
    assert "pictures: added 1 entry." in done.output
    with Hasher(MediaSettings()) as hasher:
        copy = hasher.hash(IMAGES / "bridge-blur-a-lot.jpg")
    (finding,) = services.known(fresh=True).find(posted(Media(id="m1")), {"m1": copy})
    assert finding.match
    assert finding.match.label == "bridge-aaa-orig.jpg"
    assert 0 < (finding.match.distance or 0) <= 20
