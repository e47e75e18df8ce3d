"""Signal types of plug-ins are kinds of banks: kept, matched, hashed in the bounded child, offered to HMA's clients."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from redshank.banks import current, services
from redshank.banks.values import canonical, kinds
from redshank.core import BadInput, Media, Problem
from redshank.intake.services import make_key
from redshank.media import Hasher, plugins
from redshank.web import previews
from tests.banks.conftest import post, posted
from tests.banks.tx_sample import ShadeSignal
from tests.media.made import LIMITS, encoded, picture

pytest.importorskip("threatexchange")
SAMPLE = ("tests.banks.tx_sample",)


@pytest.fixture(autouse=True)
def installed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    media = msgspec.structs.replace(LIMITS, plugins=SAMPLE)
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, media=media)
    plugins.install(SAMPLE)
    yield
    plugins.install(())


def test_types_become_kinds_and_what_is_no_plug_in_is_named() -> None:
    assert set(kinds()) >= {"pdq", "tx-shade", "tx-vowels", "tx-broken"}
    assert canonical("tx-shade", " 12345678\n") == "12345678"
    for kind, value, words in (
        ("tx-shade", "1234", "eight digits"),
        ("tx-vowels", "", "empty hash"),
        ("tx-vowels", "a" * 3000, "2,048 are kept"),
        ("tx-gone", "x", "not installed"),
    ):
        with pytest.raises(BadInput, match=words):
            canonical(kind, value)
    for module in ("tests.banks.no_such", "tests.banks.conftest", "no such"):
        with pytest.raises(Problem, match=r"media\.plugins: .* is no plug-in"):
            plugins.install((module,))
    assert "tx-shade" not in kinds()


@pytest.mark.django_db
def test_a_file_is_hashed_in_the_child_banked_and_found_with_its_distance(
    make: Any, tmp_path: Path, settings: Any
) -> None:
    place = tmp_path / "p.png"
    place.write_bytes(encoded(picture(4), "PNG"))
    with Hasher(settings.REDSHANK.media) as hasher:
        hashes = hasher.hash(place)
    signal = ShadeSignal.hash_from_bytes(place.read_bytes())
    assert [(one.kind, one.value) for one in hashes.signals] == [("tx-shade", signal)]  # The broken one says nothing.
    near = str((int(signal[0]) + 1) % 10) + signal[1:]
    bank, added = make("tx-shade", near)
    assert services.entry_from_media(hashes, "tx-shade").value == signal
    [finding] = services.known(fresh=True).find(posted(Media(id="m")), {"m": hashes})
    assert (finding.kind, finding.match.entry, finding.match.distance) == ("tx-shade", added.entries[0], 1)
    services.withdraw_entries(bank, added.entries, by="user:anna", now=timezone.now())
    assert services.known(fresh=True).find(posted(Media(id="m")), {"m": hashes}) == ()
    make("tx-shade", signal, name="again")
    make("tx-shade", signal, name="harmless", negative=True)
    found = services.known(fresh=True).find(posted(Media(id="m")), {"m": hashes})
    assert {one.match.withheld for one in found} == {"harmless"}


@pytest.mark.django_db
def test_a_text_is_held_against_them(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make("tx-vowels", "eouae")
    [finding] = services.known(fresh=True).find(post("tell our mate"), {})
    assert (finding.kind, finding.seen, finding.where.field) == ("tx-vowels", "eouae", "post.text")
    assert services.known(fresh=True).find(post("tell them all"), {}) == ()
    plugins.install(())  # The next start is without it: its banks stay, and match nothing.
    monkeypatch.setattr(current, "_view", None)
    assert services.known(fresh=True).find(post("tell our mate"), {}) == ()


@pytest.mark.django_db
def test_hmas_clients_are_offered_them(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hma = msgspec.structs.replace(settings.REDSHANK.hma, enabled=True, signal_types=("pdq", "shade"))
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, hma=hma)
    key = make_key("coop", may=["hma"], by="system", now=timezone.now())
    client = Client(headers={"Authorization": f"Bearer {key}"})
    body = encoded(picture(5), "PNG")
    with Hasher(settings.REDSHANK.media) as hasher:
        monkeypatch.setattr(previews, "_with_hasher", lambda: hasher)
        signals = client.post("/hma/h/hash", {"photo": io.BytesIO(body)}).json()
        assert signals["shade"] == ShadeSignal.hash_from_bytes(body)
        client.post("/hma/c/banks", {"name": "BANK"}, content_type="application/json")
        added = client.post("/hma/c/bank/BANK/content", {"photo": io.BytesIO(body)}).json()
        assert added["signals"] == signals
        found = client.get("/hma/m/lookup", {"signal": signals["shade"], "signal_type": "shade"}).json()
        assert found == {"BANK": [{"bank_content_id": added["id"], "distance": "0"}]}
        both = client.post("/hma/m/lookup", {"photo": io.BytesIO(body)}).json()
        assert both["shade"] == both["pdq"] == found
    compared = client.post("/hma/m/compare", {"shade": ["12345678", "12345670"]}, content_type="application/json")
    assert compared.json() == {"shade": [True, {"distance": 1}]}
