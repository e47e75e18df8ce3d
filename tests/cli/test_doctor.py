"""`redshank doctor`, as a person reads it: on a store that is well, and on one where much is wrong."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from django.conf import settings as django_settings
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from redshank.archive.models import EventRecord
from redshank.audit.services import Step, record
from redshank.cli import main
from redshank.core import Subject
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Delivery
from redshank.web import health

pytestmark = pytest.mark.xdist_group("doctor")  # They change the mode of the one secret key.
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def whole_key() -> Iterator[None]:
    path = Path(django_settings.DATA_DIR) / "secret_key"
    path.chmod(0o600)
    yield
    path.chmod(0o600)


def same_everywhere(result: Result, *names: tuple[object, str]) -> str:
    text = result.output
    for found, name in names:
        text = text.replace(str(found), name)
    text = re.sub(r"(SQLite [\d.]+, WAL|PostgreSQL [^\n]*)\.$", "STORE.", text, flags=re.MULTILINE)
    text = re.sub(r"(Steady|Steady, and agrees with the store's)\.", "Steady.", text)
    text = re.sub(r"\d+ live(, \d+ shadow)?\.", "N live.", text)
    return re.sub(r"[\d.]+ [KMGT]iB free", "ROOM free", text)


def compare(name: str, text: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.django_db
def test_a_healthy_store(listening: int) -> None:
    enforcement.connect("marsh", "Marsh", f"http://127.0.0.1:{listening}/", ["remove"], by="system", now=timezone.now())
    result = CliRunner().invoke(main, ["doctor"])
    compare("doctor-healthy.txt", same_everywhere(result))
    assert result.exit_code == 0


@pytest.mark.django_db
def test_a_broken_one_says_of_each_thing_what_to_do(
    listening: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    MigrationRecorder.Migration.objects.filter(app="audit", name="0002_append_only").delete()
    key = Path(django_settings.DATA_DIR) / "secret_key"
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [")
    monkeypatch.setattr(
        django_settings, "REDSHANK", msgspec.structs.replace(django_settings.REDSHANK, rules=str(rules))
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        enforcement.connect("marsh", "Marsh", f"http://127.0.0.1:{port}/", ["remove"], by="system", now=now)
        enforcement.connect("dunes", "Dunes", f"http://127.0.0.1:{listening}/", ["remove"], by="system", now=now)
        enforcement.pause("dunes", by="system", now=now)
        ask = enforcement.Ask(verb="remove", subject=Subject("marsh", "post", "p-1", "a-1"))
        (action,) = enforcement.request_actions(
            [ask],
            policy="recruitment",
            reason="-",
            message="-",
            asked_by="user:mo",
            key="k",
            evidence=("0" * 64,),
            now=now,
        )
        Delivery.objects.filter(pk=action.pk).update(state=Delivery.State.DEAD)
        EventRecord.objects.create(
            network="marsh", event_id="e", type="post.created", at=now, received_at=now, body="{}",
            state=EventRecord.State.WAITING, due_at=now - timedelta(hours=3, seconds=5),
        )  # fmt: skip
        record([Step(actor="system", step="verdict", object="event:a/b")], now=now + timedelta(hours=3, seconds=30))
        result = CliRunner().invoke(main, ["doctor"])
    text = same_everywhere(result, (rules, "RULES"), (key, "KEY"), (port, "PORT"))
    compare("doctor-broken.txt", text)
    assert result.exit_code == 1


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_settings, "DATA_DIR", Path("/proc/self"))  # no room, and nothing can be made there
    found = {check.name: check for check in health.run([health.disk, health.data_dir, health.secret_key])}
    assert (found["disk"].state, found["disk"].says) == ("fail", "0 B free in data_dir.")
    assert found["data dir"].state == "fail"
    assert "write access" in found["data dir"].todo
    assert found["secret key"].state == "fail"
    assert "backup" in found["secret key"].todo
