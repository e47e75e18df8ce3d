"""A client written from HMA's documentation, and Coop's calls, find what they expect; HMA's known faults are not repeated."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from redshank.audit.models import Entry as AuditEntry
from redshank.banks import current
from redshank.banks import services as banks
from redshank.banks.models import Bank, Entry
from redshank.core import BadInput
from redshank.exchanges import running
from redshank.exchanges import services as exchanges
from redshank.exchanges.models import Exchange
from redshank.exchanges.services import secret_of as exchange_secret
from redshank.hma import services
from redshank.hma.signals import entry_of, types
from redshank.intake.services import make_key
from redshank.web.hma import urlpatterns
from tests.exchanges.servers import Ncmec, Server
from tests.media.made import distance, encoded, picture, write_video

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
PDQ = "facd8bcb2a49bcebdec1985298d5fe84bcd006c187c598c720c3c087b3fdb318"
NEAR = "facd8bcb2a49bcebdec1985228d5ae84bcd006c187c598c720c2b087b3fdb318"
"""Nine bits from PDQ: the pair of HMA's documentation of /m/compare."""
FAR = "0f" * 32


@pytest.fixture(autouse=True)
def on(settings: Any) -> None:
    set_hma(settings, enabled=True)


def set_hma(settings: Any, **changes: Any) -> None:
    hma = msgspec.structs.replace(settings.REDSHANK.hma, **changes)
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, hma=hma)


class Hma:
    """HMA's client as its documentation has it: a base address, and a key where ours asks for one."""

    def __init__(self, key: str, base: str = "/hma") -> None:
        self._client = Client(headers={"Authorization": f"Bearer {key}"} if key else {})
        self._base = base

    def ask(self, method: str, path: str, body: Any = None, /, files: Any = None, **query: Any) -> Any:
        url = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        if files is not None:
            return self._client.post(url, files)
        data = b"" if body is None else json.dumps(body).encode()
        return self._client.generic(method, url, data, content_type="application/json")

    def get(self, path: str, **query: Any) -> Any:
        answer = self.ask("GET", path, **query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def bank(self, name: str, *signals: dict[str, str], **more: Any) -> list[int]:
        assert self.ask("POST", "/c/banks", {"name": name, **more}).status_code == 201
        return [self.ask("POST", f"/c/bank/{name}/signal", one).json()["id"] for one in signals]


@pytest.fixture
def hma(db: None) -> Hma:
    return Hma(make_key("coop", may=["hma"], by="system", now=NOW))


@pytest.fixture
def web(settings: Any) -> Iterator[Callable[[bytes, str], str]]:
    """Serves bytes on the loopback, which the settings then allow to be fetched from; gives their address."""
    found: dict[str, tuple[bytes, str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = found[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    media = msgspec.structs.replace(settings.REDSHANK.media, fetch_private=(host,))
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, media=media)

    def serve(body: bytes, kind: str) -> str:
        path = f"/{len(found)}"
        found[path] = (body, kind)
        return f"http://{host}{path}"

    yield serve
    server.shutdown()
    server.server_close()


# As documented


@pytest.mark.django_db
def test_status_answers_as_load_balancers_expect(hma: Hma) -> None:
    stranger = Client()
    for path in ("/hma/status", "/hma/status/live", "/hma//status"):
        assert stranger.get(path).content == b"I-AM-ALIVE"
    assert stranger.get("/hma/").headers["Location"] == "/hma/status"
    assert "/m/lookup" in hma.get("/site-map")


@pytest.mark.django_db
def test_banks_are_made_renamed_switched_and_deleted(hma: Hma) -> None:
    assert hma.get("/c/banks") == []
    for bad in ("01_TEST", "my_bank", "A-B", "", "X" * 256):
        assert hma.ask("POST", "/c/banks", {"name": bad}).status_code == 400
    made = hma.ask("POST", "/c/banks", {"name": "ONE"})
    assert (made.status_code, made.json()) == (201, {"name": "ONE", "matching_enabled_ratio": 1.0})
    assert hma.ask("POST", "/c/banks", {"name": "ONE"}).status_code == 403
    assert hma.ask("POST", "/c/banks", {"name": "COOP", "enabled_ratio": "0.25"}).json() == {
        "name": "COOP", "matching_enabled_ratio": 0.25,
    }  # fmt: skip
    assert hma.get("/c/bank/ONE") == made.json()
    assert hma.ask("GET", "/c/bank/TWO").status_code == 404
    assert hma.ask("PUT", "/c/bank/ONE", {"name": "1_bad"}).status_code == 400
    assert hma.ask("PUT", "/c/bank/ONE", {"name": "COOP"}).status_code == 403
    assert hma.ask("PUT", "/c/bank/ONE", {"name": "TWO"}).json()["name"] == "TWO"
    assert hma.ask("PUT", "/c/bank/TWO", {"enabled": False}).json()["matching_enabled_ratio"] == 0
    assert hma.ask("PUT", "/c/bank/TWO", {"enabled_ratio": 0.5}).json()["matching_enabled_ratio"] == 0.5
    assert hma.ask("PUT", "/c/bank/TWO", {"enabled_ratio": 2}).status_code == 400
    assert hma.ask("PUT", "/c/bank/TWO", {"enabled_ratio": "half"}).status_code == 422
    assert hma.ask("PUT", "/c/bank/GONE", {"enabled": True}).status_code == 404
    assert {one["name"] for one in hma.get("/c/banks")} == {"TWO", "COOP"}
    for _ in range(2):  # One that is not there is gone already.
        answer = hma.ask("DELETE", "/c/bank/TWO")
        assert (answer.status_code, answer.json()) == (200, {"message": "Done"})
    assert [one["name"] for one in hma.get("/c/banks")] == ["COOP"]


@pytest.mark.django_db
def test_signals_are_matched_by_bank_with_their_distance(hma: Hma) -> None:
    a, b = hma.bank("BANK_A", {"pdq": PDQ}), hma.bank("BANK_B", {"pdq": PDQ}, {"pdq": FAR})
    asked = {"signal": NEAR, "signal_type": "pdq"}
    assert hma.get("/m/lookup", **asked) == {
        "BANK_A": [{"bank_content_id": a[0], "distance": "9"}],
        "BANK_B": [{"bank_content_id": b[0], "distance": "9"}],
    }
    assert hma.get("/m/lookup", **asked, banks="BANK_A,NONE") == {
        "BANK_A": [{"bank_content_id": a[0], "distance": "9"}]
    }
    assert sorted(hma.get("/m/raw_lookup", **asked)["matches"]) == sorted([a[0], b[0]])
    assert hma.get("/m/raw_lookup", **asked, banks="BANK_B", include_distance="true") == {
        "matches": [{"bank_content_id": b[0], "distance": "9"}]
    }
    assert hma.get("/m/raw_lookup", **asked, banks="NONE") == {"matches": []}
    assert hma.get("/m/lookup", signal="1" * 32, signal_type="video_md5") == {}


@pytest.mark.django_db
def test_a_bank_takes_part_in_its_share_of_lookups(hma: Hma) -> None:
    hma.bank("HALF", {"pdq": PDQ}, enabled_ratio=0.5)
    seen = [bool(hma.get("/m/lookup", signal=PDQ, signal_type="pdq", seed=seed)) for seed in range(60)]
    again = [bool(hma.get("/m/lookup", signal=PDQ, signal_type="pdq", seed=seed)) for seed in range(60)]
    assert seen == again
    assert 15 < sum(seen) < 45
    assert all(
        hma.get("/m/lookup", signal=PDQ, signal_type="pdq", seed=seed, bypass_coinflip="true") for seed in range(9)
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/m/raw_lookup", {"signal": PDQ, "signal_type": "tmk"}, 400),
        ("/m/raw_lookup", {"signal": PDQ[:-1], "signal_type": "pdq"}, 400),
        ("/m/raw_lookup", {"signal": "zz" * 32, "signal_type": "pdq"}, 400),
        ("/m/raw_lookup", {"signal": PDQ}, 422),
        ("/m/raw_lookup", {"signal": PDQ, "signal_type": "pdq", "include_distance": "perhaps"}, 422),
        ("/m/lookup", {"signal": PDQ, "signal_type": "pdq", "bypass_coinflip": "perhaps"}, 422),
        ("/m/lookup", {"signal": PDQ}, 400),
        ("/m/lookup", {}, 400),
        ("/m/index/status", {"signal_type": "tmk"}, 400),
        ("/h/hash", {}, 422),
        ("/h/hash", {"url": "file:///etc/passwd"}, 400),
    ],
)
def test_bad_questions_are_refused_in_words(hma: Hma, path: str, query: dict[str, str], status: int) -> None:
    answer = hma.ask("GET", path, **query)
    assert answer.status_code == status
    if status == 422:  # A list of what is wrong, field by field.
        assert all(one["loc"][0] not in query or query[one["loc"][0]] == "perhaps" for one in answer.json())
        assert all(one["type"] and one["msg"] and "input" in one for one in answer.json())
    else:
        assert answer.json()["message"]


@pytest.mark.django_db
def test_hashes_are_compared(hma: Hma) -> None:
    assert hma.ask("POST", "/m/compare", {"pdq": [PDQ, NEAR]}).json() == {"pdq": [True, {"distance": 9}]}
    assert hma.ask("POST", "/m/compare", {"video_md5": ["a" * 32, "A" * 32]}).json() == {"video_md5": [True, {}]}
    for bad in (
        ["banana"],
        {"pdq": "banana"},
        {"pdq": []},
        {"pdq": ["banana"] * 2},
        {"pdq": [PDQ] * 3},
        {"x": [PDQ] * 2},
    ):
        assert hma.ask("POST", "/m/compare", bad).status_code == 400


@pytest.mark.django_db
def test_a_content_is_shown_noted_switched_off_for_a_time_and_removed(hma: Hma) -> None:
    [content] = hma.bank("BANK", {"pdq": PDQ, "video_md5": "b" * 32, "note": "from a report"})
    path = f"/c/bank/BANK/content/{content}"
    bank = {"name": "BANK", "matching_enabled_ratio": 1.0}
    assert hma.get(path) == {
        "id": content, "disable_until_ts": 1, "original_media_uri": None, "bank": bank, "note": "from a report",
    }  # fmt: skip
    assert hma.get(path, include_signals="true")["signals"] == {"pdq": PDQ, "video_md5": "b" * 32}
    soon = int((timezone.now() + timedelta(minutes=5)).timestamp())
    assert hma.ask("PUT", path, {"disable_until_ts": soon, "note": None}).json() == {
        "id": content, "disable_until_ts": soon, "original_media_uri": None, "bank": bank, "note": None,
        "collab_metadata": {}, "user_metadata": None,
    }  # fmt: skip
    assert "note" not in hma.get(path)
    assert hma.get("/m/lookup", signal=PDQ, signal_type="pdq") == {}
    assert services.revive_due(now=timezone.now()) == 0
    assert services.revive_due(now=timezone.now() + timedelta(minutes=6)) == 1
    assert hma.get("/m/lookup", signal=PDQ, signal_type="pdq")["BANK"][0]["bank_content_id"] == content
    for bad in (
        {"disable_until_ts": -1},
        {"disable_until_ts": 9_999_999_999},
        {"disable_until_ts": "x"},
        {"note": "n" * 256},
    ):
        assert hma.ask("PUT", path, bad).status_code == 400
    assert hma.ask("DELETE", path).json() == {"deleted": 1}
    assert hma.ask("DELETE", path).json() == {"deleted": 0}
    assert hma.ask("GET", path).status_code == 404
    assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq") == {"matches": []}


@pytest.mark.django_db
def test_a_picture_is_hashed_banked_and_found_by_address_and_by_upload(hma: Hma, web: Any) -> None:
    body = encoded(picture(3), "JPEG", quality=90)
    url = web(body, "image/jpeg")
    hashed = hma.get("/h/hash", url=url)
    assert set(hashed) == {"pdq"}
    assert hma.ask("POST", "/h/hash", files={"photo": io.BytesIO(body)}).json() == hashed
    hma.bank("BANK")
    metadata = {"content_id": "ext-1", "content_uri": "https://x.example/1", "json": {"nested": {"a": 1}}}
    added = hma.ask("POST", "/c/bank/BANK/content", {"metadata": metadata}, url=url, content_type="photo")
    assert (added.status_code, added.json()["signals"]) == (200, hashed)
    content = added.json()["id"]
    assert hma.get(f"/c/bank/BANK/content/{content}")["metadata"] == metadata | {"collab": None}
    assert "metadata" not in hma.get(f"/c/bank/BANK/content/{content}", include_metadata="false")
    found = {"BANK": [{"bank_content_id": content, "distance": "0"}]}
    assert hma.get("/m/lookup", url=url) == {"pdq": found}
    assert hma.get("/m/lookup", url=url, signal_type="pdq") == found
    assert hma.ask("POST", "/m/lookup", files={"photo": io.BytesIO(body)}).json() == {"pdq": found}
    mirrored = encoded(picture(3).transpose(0), "JPEG", quality=90)
    assert hma.ask("POST", "/m/lookup", files={"photo": io.BytesIO(mirrored)}).json()["pdq"]["BANK"]


@pytest.mark.django_db
def test_a_video_has_its_md5_and_its_frames_where_those_are_offered(hma: Hma, tmp_path: Path, settings: Any) -> None:
    body = write_video(tmp_path / "v.mp4", [(0, 1), (1, 2), (2, 3), (3, 4)], end=4).read_bytes()
    [md5] = hma.ask("POST", "/h/hash", files={"video": io.BytesIO(body)}).json().values()
    assert len(md5) == 32
    set_hma(settings, signal_types=("pdq", "video_md5", "vpdq"))
    signals = hma.ask("POST", "/h/hash", files={"video": io.BytesIO(body)}).json()
    assert signals["video_md5"] == md5
    frames = json.loads(signals["vpdq"])
    assert [float(one.split(",")[2]) for one in frames] == [0, 1, 2, 3, 4]
    [content] = hma.bank("FILMS", {"vpdq": signals["vpdq"]})
    found = hma.get("/m/lookup", signal=signals["vpdq"], signal_type="vpdq")
    assert found == {"FILMS": [{"bank_content_id": content, "distance": "100%[100%]"}]}
    shown = hma.get(f"/c/bank/FILMS/content/{content}", include_signals="true")
    assert shown["signals"] == {"vpdq": signals["vpdq"]}
    for bad in ("x", "[]", "[1]", '["00,1,0"]', json.dumps([f"{PDQ},101,0"])):
        assert hma.ask("POST", "/c/bank/FILMS/signal", {"vpdq": bad}).status_code == 400


@pytest.mark.django_db
def test_forms_that_are_wrong_are_refused_in_words(hma: Hma, web: Any) -> None:
    hma.bank("BANK")
    body = encoded(picture(3), "PNG")
    for path, files in (
        ("/h/hash", {}),
        ("/h/hash", {"audio": io.BytesIO(body)}),
        ("/h/hash", {"photo": [io.BytesIO(body), io.BytesIO(body)]}),
        ("/h/hash", {"photo": io.BytesIO(b"not a picture")}),
        ("/h/hash?types=tmk", {"photo": io.BytesIO(body)}),
        ("/h/hash?types=,", {"photo": io.BytesIO(body)}),
        ("/c/bank/BANK/content", {}),
        ("/c/bank/BANK/content", {"photo": io.BytesIO(body), "metadata": "{"}),
        ("/c/bank/BANK/content", {"photo": io.BytesIO(body), "metadata": '{"invalid": 5}'}),
        ("/c/bank/BANK/content", {"photo": io.BytesIO(body), "note": "n" * 256}),
    ):
        answer = hma.ask("POST", path, files=files)
        assert answer.status_code == 400, path
        assert answer.json()["message"]
    assert hma.ask("POST", "/c/bank/NONE/content", files={"photo": io.BytesIO(body)}).status_code == 404
    page = web(b"<html>", "text/html")
    assert hma.ask("GET", "/h/hash", url=page).status_code == 400
    assert not Entry.objects.exists()


@pytest.mark.django_db
def test_types_are_listed_and_switched(hma: Hma) -> None:
    assert hma.get("/c/content_type") == [{"name": "photo", "enabled": True}, {"name": "video", "enabled": True}]
    assert hma.get("/c/signal_type") == [
        {"name": "pdq", "enabled_ratio": 1.0},
        {"name": "video_md5", "enabled_ratio": 1.0},
    ]
    hma.bank("BANK", {"pdq": PDQ}, {"pdq": FAR})
    status = hma.get("/m/index/status", signal_type="pdq")["pdq"]
    assert (status["present"], status["size"]) == (True, 2)
    assert hma.get("/m/index/status")["video_md5"] == {"present": False, "built_to": -1, "size": 0}
    index = hma.get("/c/signal_type/index")["pdq"]
    assert (index["db_size"], index["index_size"], index["index_out_of_date"]) == (2, 2, False)
    assert hma.ask("PUT", "/c/signal_type/pdq", {"enabled_ratio": 0}).status_code == 204
    assert hma.ask("GET", "/m/lookup", signal=PDQ, signal_type="pdq").status_code == 400
    assert hma.ask("PUT", "/c/signal_type/tmk", {"enabled_ratio": 0}).status_code == 400
    assert hma.ask("PUT", "/c/signal_type/pdq", {}).status_code == 400


@pytest.mark.django_db
def test_the_state_of_an_index_is_what_this_process_has_taken_in(hma: Hma, monkeypatch: pytest.MonkeyPatch) -> None:
    def at() -> dict[str, Any]:
        monkeypatch.setattr(current, "_checked", time.monotonic())  # As where another process made the change.
        return dict(hma.get("/c/signal_type/index")["pdq"])

    monkeypatch.setattr(current, "CHECKED_EVERY", 3600.0)
    ids = hma.bank("BANK", {"pdq": PDQ}, {"pdq": FAR})
    assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq")["matches"] == [ids[0]]
    then = at()
    assert (then["db_size"], then["index_size"], then["index_out_of_date"]) == (2, 2, False)
    assert then["newest_db_item"] == then["index_built_to"] > 0
    later = timezone.now() + timedelta(hours=1)
    banks.add_entries(Bank.objects.get(), [banks.NewEntry(value="3c" * 32)], by="system", now=later)
    now = at()
    assert (now["db_size"], now["index_size"], now["index_out_of_date"]) == (3, 2, True)
    assert (now["newest_db_item"], now["index_built_to"]) == (int(later.timestamp()), then["index_built_to"])
    status = hma.get("/m/index/status")["pdq"]
    assert status == {"present": True, "built_to": then["index_built_to"], "size": 2}
    assert len(hma.get("/m/raw_lookup", signal="3c" * 32, signal_type="pdq")["matches"]) == 1  # It takes in first.
    now = at()
    assert (now["db_size"], now["index_size"], now["index_out_of_date"]) == (3, 3, False)
    assert hma.ask("DELETE", f"/c/bank/BANK/content/{ids[1]}").json() == {"deleted": 1}
    now = at()
    assert (now["db_size"], now["index_size"], now["index_out_of_date"]) == (2, 2, True)


# Coop's calls


@pytest.mark.django_db
def test_coop_makes_fills_and_asks_its_bank(hma: Hma, web: Any) -> None:
    """In its order and form: the ratio as text, an address that ends in a slash, a probe of the bank before each use."""
    coop = hma
    coop._base = "/hma/"
    name = "COOP_ORG1_TEST_BANK"
    assert coop.ask("POST", "/c/banks", {"name": name, "enabled_ratio": "1"}).status_code == 201
    assert coop.ask("GET", f"/c/bank/{name}").status_code == 200
    body = encoded(picture(5), "JPEG", quality=90)
    url = web(body, "image/jpeg")
    added = coop.ask("POST", f"/c/bank/{name}/content", url=url, content_id="c-1", content_uri="https://x.example")
    assert added.json()["signals"]["pdq"]
    form = {"photo": io.BytesIO(body), "content_id": "c-2", "content_uri": "https://x.example"}
    assert coop.ask("POST", f"/c/bank/{name}/content", files=form).json()["id"] != added.json()["id"]
    signal = coop.get("/h/hash", url=url)["pdq"]
    found = coop.get("/m/lookup", signal_type="pdq", signal=signal)
    assert len(found[name]) == 2
    assert coop.ask("PUT", f"/c/bank/{name}", {"enabled_ratio": 0.5}).status_code == 200
    assert coop.ask("DELETE", f"/c/bank/{name}").status_code == 200
    assert coop.ask("GET", f"/c/bank/{name}").status_code == 404


@pytest.mark.django_db
def test_coop_makes_a_bank_from_an_exchange_and_asks_how_it_stands(hma: Hma) -> None:
    name = "COOP_ORG1_SHARED"
    assert hma.get("/c/exchanges/apis") == ["fb_threatexchange", "ncmec", "stop_ncii", "tat"]
    schema = hma.get("/c/exchanges/api/fb_threatexchange/schema")
    [field] = schema["config_schema"]["fields"]
    assert (field["name"], field["type"], field["required"]) == ("privacy_group", "number", True)
    assert [one["name"] for one in schema["credentials_schema"]["fields"]] == ["api_token"]
    made = {"bank": name, "api": "fb_threatexchange", "api_json": {"privacy_group": 123}}
    assert hma.ask("POST", "/c/exchanges", made).status_code == 201
    assert hma.ask("POST", "/c/exchanges", made).status_code == 403
    assert hma.ask("PUT", f"/c/bank/{name}", {"enabled_ratio": 0.5}).json()["matching_enabled_ratio"] == 0.5
    assert hma.get("/c/exchanges") == [name]
    assert hma.get(f"/c/exchange/{name}") == {
        "name": name, "api": "fb_threatexchange", "enabled": True, "privacy_group": 123,
    }  # fmt: skip
    path = "/c/exchanges/api/fb_threatexchange"
    assert hma.get(path) == {"supports_authentification": True, "has_set_authentification": False}
    token = "1234|not-so-secret-here"
    assert hma.ask("POST", path, {"credential_json": {"api_token": token}}).json()["has_set_authentification"] is True
    exchange = Exchange.objects.get()
    assert exchange_secret(exchange) == token
    assert token not in str(AuditEntry.objects.values_list("body", flat=True))
    assert hma.get(f"/c/exchange/{name}/status") == {
        "checkpoint_ts": None, "running_fetch_start_ts": None, "last_fetch_complete_ts": None,
        "last_fetch_succeeded": None, "up_to_date": False, "fetched_items": 0,
    }  # fmt: skip
    assert hma.ask("PUT", f"/c/bank/{name}", {"name": "ELSEWHERE"}).status_code == 200
    assert hma.get("/c/exchanges") == [name]  # It keeps its own name, and its bank.
    assert hma.ask("POST", "/c/exchanges", made).status_code == 403
    assert hma.ask("PUT", "/c/bank/ELSEWHERE", {"name": name}).status_code == 200
    assert hma.ask("PUT", f"/c/exchange/{name}", {"enabled": False}).json()["enabled"] is False
    assert Exchange.objects.get().paused_at is not None
    assert hma.ask("POST", path, {"credential_json": {}}).json()["has_set_authentification"] is False
    for _ in range(2):
        assert hma.ask("DELETE", f"/c/exchange/{name}").json() == {"message": "Exchange deleted"}
    assert hma.get("/c/banks") == hma.get("/c/exchanges") == []
    assert hma.ask("GET", f"/c/exchange/{name}/status").status_code == 404
    assert hma.ask("POST", "/c/exchanges", made).status_code == 201  # the name is free again


@pytest.mark.django_db
def test_what_is_wrong_with_an_exchange_is_said(hma: Hma) -> None:
    for body in (
        {"bank": "small", "api": "ncmec"}, {"bank": "X", "api": "sample"}, {"bank": "X"}, {"api": "ncmec"},
        {"bank": "X", "api": "ncmec", "api_json": []}, {"bank": "X", "api": "ncmec", "api_json": {"only_esp_ids": [1]}},
        *({"bank": "X", "api": "ncmec", "api_json": {"environment": "https://a.example", "only_esp_ids": ids}}
          for ids in ("1", ["1"], [1.5], [True], [-1], 7, None, {"1": 1})),
        {"bank": "X", "api": "ncmec", "api_json": {"environment": "https://a.example", "enabled": "no"}},
        {"bank": "X", "api": "fb_threatexchange", "api_json": {}},
        {"bank": "X", "api": "fb_threatexchange", "api_json": {"privacy_group": "x"}},
        {"bank": "X", "api": "ncmec", "api_json": {"environment": "http://10.0.0.1/"}},
    ):  # fmt: skip
        answer = hma.ask("POST", "/c/exchanges", body)
        assert answer.status_code == 400, body
        assert answer.json()["message"]
    assert hma.get("/c/banks") == []
    assert hma.ask("POST", "/c/exchanges/api/ncmec", {"credential_json": {"user": "u"}}).status_code == 400
    assert hma.ask("GET", "/c/exchanges/api/other").status_code == 400
    assert hma.ask("GET", "/c/exchanges/api/other/schema").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_only_the_providers_that_a_client_names_are_taken_from_ncmec(
    hma: Hma, serve: Callable[[Any], Server], clock: Any
) -> None:
    source = Ncmec()
    for key, member in (("1", 42), ("2", 7), ("3", 42), ("4", 8)):
        source.put(key, "md5", f"{int(key):032x}", int(clock().timestamp()) - 100, member=member)
    server = serve(source)
    config = {"environment": server.url, "only_esp_ids": [42, 7, 42]}
    assert hma.ask("POST", "/c/exchanges", {"bank": "SHARED", "api": "ncmec", "api_json": config}).status_code == 201
    user, _, password = Ncmec.SECRET.partition(":")
    hma.ask("POST", "/c/exchanges/api/ncmec", {"credential_json": {"user": user, "password": password}})
    assert hma.get("/c/exchange/SHARED")["only_esp_ids"] == [7, 42]
    exchange = Exchange.objects.get()
    running.run(exchange, clock=clock)
    living = Entry.objects.filter(withdrawn_at=None)
    assert set(living.values_list("value", flat=True)) == {f"{key:032x}" for key in (1, 2, 3)}
    source.put("3", "md5", f"{3:032x}", int(clock().timestamp()) + 100, gone=True)
    source.put("4", "md5", f"{4:032x}", int(clock().timestamp()) + 100, gone=True, member=8)
    clock.pass_(hours=1)
    exchange.refresh_from_db()
    running.run(exchange, clock=clock)
    assert set(living.values_list("value", flat=True)) == {f"{key:032x}" for key in (1, 2)}
    exchanges.change_exchange(exchange, {"options": {}}, by="user:ada", now=clock())
    exchange.refresh_from_db()
    source.put("4", "md5", f"{4:032x}", int(clock().timestamp()) + 100, member=8)
    clock.pass_(hours=1)
    running.run(exchange, clock=clock)
    assert set(living.values_list("value", flat=True)) == {f"{key:032x}" for key in (1, 2, 4)}
    for bad in ("esp", "1;2", "1,,2", "-1"):
        with pytest.raises(BadInput, match="members"):
            exchanges.change_exchange(exchange, {"options": {"members": bad}}, by="user:ada", now=clock())
    assert hma.ask("DELETE", "/c/bank/SHARED").status_code == 200  # Its exchange goes with it.
    exchange.refresh_from_db()
    assert exchange.paused_at is not None
    assert hma.get("/c/exchanges") == []
    assert not living.exists()


# Code by code, as HMA answers the same requests


CODES: tuple[tuple[str, str, Any, int], ...] = (
    ("OPTIONS", "/c/banks", None, 200), ("PUT", "/c/banks", {}, 405), ("GET", "/c/bank/ONE/signal", None, 405),
    *(("POST", "/c/banks", body, 422) for body in (
        {}, {"name": None}, {"name": 5}, {"name": "A", "enabled": "perhaps"}, {"name": "A", "enabled": ""}, {"name": "A", "enabled": 2},
        {"name": "A", "enabled": 0.5}, {"name": "A", "enabled": []}, {"name": "A", "enabled_ratio": "x"}, {"name": "A", "enabled_ratio": []}, [], "x", 5,
    )),
    *(("POST", "/c/banks", body, 201) for body in (
        {"name": "A1", "enabled": "off"}, {"name": "A2", "enabled": 0.0}, {"name": "A3", "enabled": "Y"}, {"name": "A4", "enabled_ratio": True},
        {"name": "A5", "enabled_ratio": " .5 "}, {"name": "_A", "enabled_ratio": None}, {"name": "A6", "more": 1},
    )),
    ("PUT", "/c/bank/NONE", {"enabled_ratio": "x"}, 422), ("PUT", "/c/bank/NONE", {}, 404), ("PUT", "/c/bank/ONE", [], 422),
    ("PUT", "/c/bank/ONE", {"name": None, "enabled": None}, 200), ("PUT", "/c/bank/ONE", {"name": ""}, 400),
    *(("POST", "/c/bank/ONE/signal", body, 400) for body in (
        {}, {"note": "x"}, {"pdq": ""}, {"pdq": None}, {"pdq": 5}, {"pdq": []}, {"tmk": PDQ}, {"pdq": PDQ, "tmk": "x"}, {"pdq": PDQ, "note": 5},
    )),
    ("POST", "/c/bank/NONE/signal", {"pdq": PDQ}, 404),
    ("GET", f"/c/bank/ONE/content/{'9' * 300}", None, 404), ("DELETE", f"/c/bank/ONE/content/{'9' * 300}", None, 200),
    ("GET", "/h/hash?url=", None, 400), ("GET", f"/m/raw_lookup?signal={PDQ}&signal_type=pdq&include_distance=", None, 422),
    ("GET", f"/m/raw_lookup?signal={PDQ}&signal_type=pdq&include_distance=yes", None, 200),
    *(("POST", "/m/compare", body, 400) for body in ([], "x", 5, {"pdq": None}, {"pdq": [PDQ, None]}, {"pdq": [PDQ, 5]})),
    ("POST", "/m/compare", {}, 200),
    ("PUT", "/c/exchange/NONE", {"enabled": "x"}, 422), ("PUT", "/c/exchange/NONE", {"enabled": False}, 404),
    ("POST", "/c/exchanges/api/none", {}, 400), ("POST", "/c/exchanges/api/ncmec", [], 400),
    ("POST", "/c/exchanges/api/ncmec", {"credential_json": "x"}, 400), ("POST", "/c/exchanges/api/ncmec", {"credential_json": None}, 200),
)  # fmt: skip


@pytest.mark.django_db
def test_each_request_is_answered_with_hmas_code(hma: Hma) -> None:
    hma.bank("ONE")
    for method, path, body, status in CODES:
        assert hma.ask(method, path, body).status_code == status, (method, path, body)
    path = "/hma/c/bank/ONE/signal"
    for kind, data, status in (
        ("text/plain", b"{}", 415), ("multipart/form-data; boundary=x", b"--x--", 415), ("application/json", b"{", 400),
        ("application/problem+json", json.dumps({"pdq": PDQ}).encode(), 200),
    ):  # fmt: skip
        assert hma._client.post(path, data, content_type=kind).status_code == status, kind
    answer = hma._client.post("/hma/c/banks", b'{"name": "A7"}', content_type="text/plain")
    assert (answer.status_code, answer.json()[0]["type"]) == (422, "model_type")
    for bypass, status in (("x", 200), ("true", 200)):
        form = {"photo": io.BytesIO(encoded(picture(3), "PNG"))}
        assert hma.ask("POST", f"/m/lookup?bypass_coinflip={bypass}", files=form).status_code == status


@pytest.mark.django_db
def test_a_video_that_nothing_here_decodes_is_known_by_its_bytes(hma: Hma, settings: Any) -> None:
    body = b"frames of a format of tomorrow"
    signals = {"video_md5": hashlib.md5(body, usedforsecurity=False).hexdigest()}
    assert hma.ask("POST", "/h/hash", files={"video": io.BytesIO(body)}).json() == signals
    hma.bank("FILMS")
    content = hma.ask("POST", "/c/bank/FILMS/content", files={"video": io.BytesIO(body)}).json()["id"]
    found = hma.ask("POST", "/m/lookup", files={"video": io.BytesIO(body)}).json()
    assert found == {"video_md5": {"FILMS": [{"bank_content_id": content, "distance": "-"}]}}
    assert hma.ask("POST", "/h/hash", files={"video": io.BytesIO(b"")}).status_code == 400
    set_hma(settings, signal_types=("video_md5", "vpdq"))
    assert hma.ask("POST", "/h/hash", files={"video": io.BytesIO(body)}).status_code == 400
    assert hma.ask("POST", "/h/hash?types=video_md5", files={"video": io.BytesIO(body)}).json() == signals


# Better than HMA


@pytest.mark.django_db
@pytest.mark.parametrize("equal", [1, 2, 4, 8])
def test_no_content_is_lost_among_equal_ones(hma: Hma, equal: int) -> None:
    ids = hma.bank("BANK", *[{"pdq": PDQ}] * equal, {"pdq": FAR})
    assert sorted(hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq")["matches"]) == ids[:-1]
    for left in range(equal - 1, -1, -1):
        assert hma.ask("DELETE", f"/c/bank/BANK/content/{ids[left]}").json() == {"deleted": 1}
        assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq")["matches"] == ids[:left]
    assert hma.get("/m/raw_lookup", signal=FAR, signal_type="pdq")["matches"] == [ids[-1]]


@pytest.mark.django_db
def test_a_newline_or_capitals_in_a_hash_hurt_nothing_after_it(hma: Hma) -> None:
    ids = hma.bank("BANK", {"pdq": PDQ.upper() + "\n"}, {"pdq": f" {FAR}"})
    again = hma.ask("POST", "/c/bank/BANK/signal", {"pdq": PDQ.upper() + "\n"}).json()
    assert again["signals"] == {"pdq": PDQ}
    assert hma.ask("DELETE", f"/c/bank/BANK/content/{again['id']}").json() == {"deleted": 1}
    assert hma.ask("POST", "/c/bank/BANK/signal", {"pdq": PDQ[:40]}).status_code == 400
    assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq")["matches"] == [ids[0]]
    assert hma.get("/m/raw_lookup", signal=FAR, signal_type="pdq")["matches"] == [ids[1]]


@pytest.mark.django_db
def test_a_banks_content_is_changed_through_that_bank_alone(hma: Hma) -> None:
    [content] = hma.bank("MINE", {"pdq": PDQ})
    hma.bank("YOURS")
    path = f"/c/bank/YOURS/content/{content}"
    assert hma.ask("GET", path).status_code == 404
    assert hma.ask("PUT", path, {"disable_until_ts": 0}).status_code == 404
    assert hma.ask("DELETE", path).json() == {"deleted": 0}
    assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq")["matches"] == [content]


@pytest.mark.django_db
def test_what_lies_inside_is_not_fetched(hma: Hma, web: Any, settings: Any) -> None:
    url = web(encoded(picture(3), "JPEG", quality=90), "image/jpeg")
    assert hma.get("/h/hash", url=url)["pdq"]
    media = msgspec.structs.replace(settings.REDSHANK.media, fetch_private=())
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, media=media)
    hma.bank("BANK")
    port = url.rpartition(":")[2]
    for address in (url, f"http://localhost:{port}", f"http://[::ffff:7f00:1]:{port}", f"http://2130706433:{port}"):
        for method, path in (("GET", "/h/hash"), ("GET", "/m/lookup"), ("POST", "/c/bank/BANK/content")):
            answer = hma.ask(method, path, url=address)
            assert (answer.status_code, "Failed to fetch" in answer.json()["message"]) == (400, True), address
    assert not Entry.objects.exists()


@pytest.mark.django_db
def test_pictures_are_hashed_as_they_are_shown(hma: Hma) -> None:
    """Turned by EXIF, in CMYK, with a palette: a match of the plain picture's hash, where HMA's is of something else."""
    plain = picture(9)
    exif = plain.getexif()
    exif[0x0112] = 6
    turned = encoded(plain.transpose(2), "JPEG", quality=95, exif=exif.tobytes())
    forms = {
        "exif": turned,
        "cmyk": encoded(plain.convert("CMYK"), "JPEG", quality=95),
        "palette": encoded(plain.quantize(256, dither=Image.Dither.NONE), "PNG"),
    }
    asked = hma.ask("POST", "/h/hash", files={"photo": io.BytesIO(encoded(plain, "PNG"))}).json()["pdq"]
    for name, body in forms.items():
        found = hma.ask("POST", "/h/hash", files={"photo": io.BytesIO(body)}).json()["pdq"]
        assert distance(asked, found) <= 31, name


@pytest.mark.django_db
def test_what_shows_next_to_nothing_is_not_banked(hma: Hma) -> None:
    hma.bank("BANK")
    gray = encoded(Image.new("RGB", (200, 200), (120, 120, 120)), "PNG")
    assert hma.ask("POST", "/h/hash", files={"photo": io.BytesIO(gray)}).json() == {"pdq": ""}
    assert hma.ask("POST", "/c/bank/BANK/content", files={"photo": io.BytesIO(gray)}).status_code == 400
    assert hma.ask("POST", "/m/lookup", files={"photo": io.BytesIO(gray)}).json() == {"pdq": {}}


# Keys, and our own side


@pytest.mark.django_db
def test_every_route_but_status_wants_a_key_that_opens_it(hma: Hma, settings: Any) -> None:
    events = make_key("marsh", "marsh", by="system", now=NOW)
    paths = [
        "/"
        + (one.name or "")
        .removeprefix("hma/")
        .replace("<bank>", "B")
        .replace("<content>", "1")
        .replace("<name>", "pdq")
        .replace("<exchange>", "E")
        for one in urlpatterns
    ]
    assert len(paths) == len(set(paths)) > 15
    for key, trusted, proxied, status in (
        ("", (), False, 401), ("rsk_wrong", (), False, 401), (events, (), False, 401),
        ("", ("10.0.0.0/8",), False, 401), ("", ("127.0.0.0/8",), True, 401), ("", ("127.0.0.0/8",), False, 0),
    ):  # fmt: skip
        set_hma(settings, trusted=trusted)
        asking = Hma(key)
        if proxied:
            asking._client = Client(headers={"X-Forwarded-For": "127.0.0.1"})
        for path in paths:
            methods = [one for one in ("GET", "POST", "PUT", "DELETE") if asking.ask(one, path).status_code != 405]
            assert methods, path
            if path in {"/", "/status", "/status/live"}:
                continue
            answers = {asking.ask(one, path).status_code for one in methods}
            assert answers == {status} if status else 401 not in answers, (path, answers)
    set_hma(settings, enabled=False, trusted=("127.0.0.0/8",))
    assert {Hma("").ask("GET", path).status_code for path in paths} == {404}


@pytest.mark.django_db
def test_a_key_may_be_the_password_of_the_address(hma: Hma) -> None:
    key = make_key("basic", may=["hma"], by="system", now=NOW)
    pair = base64.b64encode(f"any:{key}".encode()).decode()
    assert Client(headers={"Authorization": f"Basic {pair}"}).get("/hma/c/banks").status_code == 200
    for wrong in ("Basic", "Basic ???", f"Basic {base64.b64encode(b'x').decode()}"):
        assert Client(headers={"Authorization": wrong}).get("/hma/c/banks").status_code == 401


@pytest.mark.django_db
def test_our_banks_are_seen_and_theirs_are_ours(hma: Hma) -> None:
    ours = banks.make_bank("pictures", kind="pdq", policy="terrorist-content", severity=4, by="user:anna", now=NOW)
    banks.make_bank(
        "harmless", kind="pdq", policy="terrorist-content", severity=1, by="user:anna", now=NOW, negative=True
    )
    [entry] = banks.add_entries(ours, [banks.NewEntry(value=PDQ)], by="user:anna", now=NOW).entries
    hma.bank("THEIRS", {"pdq": FAR})
    assert [one["name"] for one in hma.get("/c/banks")] == ["THEIRS", "pictures"]
    [found] = hma.get("/m/lookup", signal=PDQ, signal_type="pdq")["pictures"]
    path = f"/c/bank/pictures/content/{found['bank_content_id']}"
    assert hma.get(path, include_signals="true")["signals"] == {"pdq": PDQ}
    assert hma.ask("PUT", path, {"note": "seen at Coop"}).json()["note"] == "seen at Coop"
    assert hma.ask("DELETE", "/c/bank/pictures").status_code == 403
    assert hma.ask("PUT", "/c/bank/pictures", {"name": "OTHER"}).status_code == 403
    assert hma.ask("POST", "/c/bank/pictures/signal", {"video_md5": "a" * 32}).status_code == 400
    made = Bank.objects.get(hma_part__whole__name="THEIRS")
    assert (made.kind, made.policy_id, made.entries.get().value) == ("pdq", "terrorist-content", FAR)
    assert hma.ask("DELETE", path).json() == {"deleted": 1}
    assert Entry.objects.get(pk=entry).withdrawn_by == "key:coop"
    steps = set(AuditEntry.objects.filter(actor="key:coop").values_list("step", flat=True))
    assert {"hma.bank_created", "entry.added", "entry.withdrawn"} <= steps


@pytest.mark.django_db
def test_no_client_brings_back_what_a_person_withdrew(hma: Hma) -> None:
    one, other = hma.bank("BANK", {"pdq": PDQ}, {"pdq": PDQ})
    entry = Entry.objects.get()
    banks.withdraw_entries(entry.bank, [entry.pk], by="user:anna", now=NOW, reason="harmless")
    assert hma.ask("PUT", f"/c/bank/BANK/content/{one}", {"disable_until_ts": 1}).status_code == 200
    assert hma.ask("DELETE", f"/c/bank/BANK/content/{other}").status_code == 200
    assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq") == {"matches": []}


@pytest.mark.django_db
def test_what_a_person_or_an_exchange_added_stays_when_a_client_takes_its_own_away(hma: Hma) -> None:
    [own] = hma.bank("BANK", {"pdq": FAR})
    bank = Bank.objects.get()
    for by, value in (("user:anna", PDQ), ("exchange:tat", NEAR)):
        [entry] = banks.add_entries(bank, [banks.NewEntry(value=value)], by=by, now=NOW).entries
        content = hma.ask("POST", "/c/bank/BANK/signal", {"pdq": value}).json()["id"]
        path = f"/c/bank/BANK/content/{content}"
        assert hma.ask("PUT", path, {"disable_until_ts": 0}).status_code == 200
        found = hma.get("/m/lookup", signal=value, signal_type="pdq").get("BANK", [])
        assert content not in [one["bank_content_id"] for one in found]
        assert hma.ask("DELETE", path).json() == {"deleted": 1}
        assert hma.get("/m/raw_lookup", signal=value, signal_type="pdq")["matches"][0] == 2 * entry
    assert hma.ask("DELETE", f"/c/bank/BANK/content/{own}").json() == {"deleted": 1}
    assert hma.get("/m/raw_lookup", signal=FAR, signal_type="pdq") == {"matches": []}


@pytest.mark.django_db(transaction=True)
def test_clients_fill_a_new_bank_at_once_and_another_deletes_it(hma: Hma) -> None:
    bank = services.make_bank("FRESH", 1.0, by="key:coop", now=NOW)
    ready, done = threading.Barrier(4), []

    def fill(number: int) -> None:
        try:
            ready.wait(10)
            signals = {"pdq": f"{number:x}" * 64, "video_md5": f"{number:x}" * 32}
            done.append(services.add_content(bank, signals, by="key:coop", now=NOW))
        finally:
            connection.close()

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(done)) == 4
    assert sorted(Bank.objects.values_list("kind", "in_force")) == [("md5", 4), ("pdq", 4)]
    services.delete_bank("FRESH", by="key:coop", now=NOW)
    with pytest.raises(services.NoSuchThing):  # Who looked it up before it was deleted.
        services.add_content(bank, {"pdq": PDQ}, by="key:coop", now=NOW)


@pytest.mark.django_db
def test_a_deleted_banks_name_is_free_again_and_its_contents_do_not_come_back(hma: Hma) -> None:
    hma.bank("BANK", {"pdq": PDQ})
    hma.ask("DELETE", "/c/bank/BANK")
    [content] = hma.bank("BANK", {"pdq": FAR})
    assert hma.get("/m/raw_lookup", signal=PDQ, signal_type="pdq") == {"matches": []}
    assert hma.get("/m/raw_lookup", signal=FAR, signal_type="pdq")["matches"] == [content]


@given(st.sampled_from(sorted(types())), st.text(max_size=200))
def test_any_text_is_refused_in_words_or_a_signal_that_stays_itself(name: str, text: str) -> None:
    with contextlib.suppress(BadInput):
        entry = entry_of(types()[name], text)
        assert entry.frames or entry_of(types()[name], entry.value) == entry
