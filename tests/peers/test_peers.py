"""Installations ask each other: who asks learns of its own tokens alone, who answers learns how many; all of it is written down."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank import pipeline
from redshank.archive.models import AccountRecord, Erasure
from redshank.audit.models import Entry
from redshank.client import make_token
from redshank.core import BadInput, Problem
from redshank.enforcement.signing import sign
from redshank.peers import blind, services
from redshank.peers.models import Agreement, Question, SharedToken
from redshank.peers.tokens import key_name, key_names
from tests.cli.test_processes import run, serving

NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)

# The protocol


@settings(deadline=None, max_examples=30)
@given(st.sets(st.text(max_size=12), max_size=8), st.sets(st.text(max_size=12), min_size=1, max_size=8))
def test_exactly_what_both_have_is_found(theirs: set[str], ours: set[str]) -> None:
    scalar = blind.secret_scalar(b"secret", "key")
    masks = {blind.mask_of(blind.raised(blind.point_of("mail", "k", one), scalar)) for one in theirs}
    asked = sorted(ours)
    question = blind.Blinded([blind.point_of("mail", "k", one) for one in asked])
    answered = [blind.raised(point, scalar) for point in question.points]
    found = {one for one, mask in zip(asked, question.masks(answered), strict=True) if mask in masks}
    assert found == theirs & ours


def test_nothing_of_a_token_is_in_a_question_and_no_two_are_alike() -> None:
    point = blind.point_of("mail", "k", "v")
    sent = [blind.Blinded([point]).points[0] for _ in range(20)]
    assert len({*sent, point}) == 21
    assert blind.point_of("mail", "k", "v") != blind.point_of("phone", "k", "v")
    assert blind.secret_scalar(b"a", "k") != blind.secret_scalar(b"b", "k")


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_bytes_that_are_no_point_are_refused(raw: bytes) -> None:
    scalar = blind.secret_scalar(b"secret", "key")
    try:
        raised = blind.raised(raw, scalar)
    except BadInput:
        return
    assert len(raised) == len(raw) == 32


@pytest.mark.parametrize("point", [b"\0" * 32, b"\1" + b"\0" * 31, bytes.fromhex("ec" + "ff" * 30 + "7f")])
def test_points_of_small_order_are_refused(point: bytes) -> None:
    with pytest.raises(BadInput):
        blind.raised(point, blind.secret_scalar(b"secret", "key"))


def test_an_identifier_is_one_token_however_it_is_written() -> None:
    key, name = b"k" * 32, "p00000000-2026-07"
    assert make_token(key, name, "mail", " Heron@Marsh.example ") == make_token(
        key, name, "mail", "heron@marsh.example"
    )
    assert make_token(key, name, "phone", "+49 (30) 123-4") == make_token(key, name, "phone", "0049301234")
    assert make_token(key, name, "mail", "x") != make_token(b"l" * 32, name, "mail", "x")
    assert [key_name("c", datetime(2026, 1, 1, tzinfo=UTC), months=n) for n in (-1, 0, 1)] == [
        "pc-2026-02", "pc-2026-01", "pc-2025-12",
    ]  # fmt: skip


# Answering


@pytest.fixture
def agreed(db: None) -> str:
    return services.agree("reed", "https://reed.example", daily=6, by="user:anna", now=NOW)


def code() -> str:
    return Agreement.objects.get().code


def token(purpose: str, identifier: str, *, now: datetime = NOW) -> str:
    name, key = services.platform_keys("reed", now=now)[0]
    return make_token(base64.b64decode(key), name, purpose, identifier)


def tell(account: str, *tokens: str, type_: str = "account.created", at: datetime = NOW) -> None:
    event = {
        "id": f"e-{account}-{type_}-{at.timestamp()}", "type": type_, "network": "marsh", "at": at.isoformat(),
        "account": {"id": account, "tokens": tokens},
    }  # fmt: skip
    [answer] = pipeline.accept([json.dumps(event).encode()], now=at, actor="key:marsh")
    assert answer.status == "accepted", answer


def suspend(account: str, *tokens: str) -> None:
    tell(account, *tokens)
    AccountRecord.objects.filter(account_id=account).update(state=AccountRecord.State.SUSPENDED)


def signed(body: bytes, number: str = "q1", *, at: datetime = NOW, secret: str = "") -> dict[str, str]:
    return {
        **sign([secret or services._webhook_secret(Agreement.objects.get())], number, at, body),
        services.HEADER: code(),
    }


def masks(now: datetime = NOW, number: str = "m1") -> bytes:
    body = msgspec.json.encode({"key": key_name(code(), now)})
    return services.answer(signed(body, number, at=now), body, "masks", now=now)


@pytest.mark.django_db
def test_masks_are_of_suspended_accounts_tokens_alone(agreed: str) -> None:
    suspend("bad", token("mail", "bad@marsh.example"), token("device", "d-1"), "address:q2-otherwise-keyed-000")
    tell("good", token("mail", "good@marsh.example"))
    assert SharedToken.objects.count() == 3
    assert len(masks()) == 2 * blind.MASK
    AccountRecord.objects.filter(account_id="bad").update(state=AccountRecord.State.ACTIVE)
    assert masks(number="m2") == b""  # A reversed suspension is gone at once.


@pytest.mark.django_db
def test_a_question_is_refused_without_an_agreement_a_signature_or_room_and_never_answered_twice(agreed: str) -> None:
    point = blind.Blinded([blind.point_of("mail", "k", "v")]).points[0].hex()
    body = msgspec.json.encode({"key": key_name(code(), NOW), "points": [point] * 3})
    ask = lambda number, body=body, **more: services.answer(signed(body, number, **more), body, "ask", now=NOW)  # noqa: E731
    assert len(json.loads(ask("q1"))["points"]) == 3
    with pytest.raises(services.Refused, match="asked before"):
        ask("q1")
    ask("q2")
    with pytest.raises(services.Refused, match="6 tokens a day are agreed, and 6 were asked"):
        ask("q3")
    assert (
        len(
            json.loads(
                services.answer(
                    signed(body, "q4", at=NOW + timedelta(days=1)), body, "ask", now=NOW + timedelta(days=1)
                )
            )["points"]
        )
        == 3
    )
    for more in ({"at": NOW - timedelta(minutes=6)}, {"secret": "whsec_" + base64.b64encode(b"x" * 32).decode()}):
        with pytest.raises(services.UnknownPeer):
            ask("q5", **more)
    with pytest.raises(services.UnknownPeer):
        services.answer({**signed(body, "q6"), services.HEADER: "00000000"}, body, "ask", now=NOW)
    for bad, words in (
        (b"{", "cannot be read"),
        (msgspec.json.encode({"key": "p-other"}), "not a key"),
        (msgspec.json.encode({"key": key_name(code(), NOW), "points": ["zz"]}), "hexadecimal"),
        (msgspec.json.encode({"key": key_name(code(), NOW), "points": [point] * 51}), "50 are the most"),
        (msgspec.json.encode({"key": key_name(code(), NOW, months=6)}), "not a key"),
    ):
        with pytest.raises(BadInput, match=words):
            services.answer(signed(bad, "q7"), bad, "ask", now=NOW)
    services.end("reed", by="user:anna", now=NOW)
    with pytest.raises(services.UnknownPeer):
        ask("q8")
    assert list(Question.objects.order_by("pk").values_list("ours", "number", "tokens", "account_id")) == [
        (False, "q1", 3, ""), (False, "q2", 3, ""), (False, "q4", 3, ""),
    ]  # fmt: skip
    assert Entry.objects.filter(step="peer.asked_us").count() == 3


@pytest.mark.django_db
def test_the_door_speaks_in_statuses(agreed: str) -> None:
    client = Client()
    assert client.get("/api/v1/peers/ask").status_code == 405
    assert client.post("/api/v1/peers/users", b"{}", content_type="application/json").status_code == 404
    assert client.post("/api/v1/peers/ask", b"{}", content_type="application/json").status_code == 401
    assert client.post("/api/v1/peers/ask", b"x" * 70_000, content_type="application/json").status_code == 413


@pytest.mark.django_db
def test_tokens_go_with_their_month_their_agreement_and_their_account(agreed: str) -> None:
    suspend("a", token("mail", "a"))
    suspend("b", token("mail", "b"))
    tell("c", "mail:p00000000-2026-07:AAAAAAAAAAAAAAAAAAAAAA")  # under no agreement of ours
    assert SharedToken.objects.count() == 2
    assert services.tend(now=NOW) == 2
    Erasure.objects.create(network="marsh", account_id="a", asked_at=NOW + timedelta(seconds=1))
    assert services.tend(now=NOW) == 1
    assert list(SharedToken.objects.values_list("account_id", flat=True)) == ["b"]
    later = NOW + timedelta(days=100)
    assert key_name(code(), NOW) not in key_names(code(), later)
    services.tend(now=later)
    assert not SharedToken.objects.exists()
    suspend("d", token("mail", "d"))
    services.end("reed", by="user:anna", now=NOW)
    assert not SharedToken.objects.exists()


@pytest.mark.django_db
def test_agreements_are_refused_in_words(agreed: str) -> None:
    for name, url, secret, words in (
        ("reed", "https://x.example", "", "of this name"),
        ("other", "ftp://x.example", "", "not an address"),
        ("other", "https://x.example", "whsec_short", "not an agreement's secret"),
        ("other", "https://x.example", agreed, "with this secret"),
    ):
        with pytest.raises(Problem, match=words):
            services.agree(name, url, secret=secret, by="user:anna", now=NOW)
    with pytest.raises(Problem, match="no standing agreement"):
        services.ask("marsh", "a", by="user:anna", now=NOW, only="other")
    assert agreed not in str(Agreement.objects.values().get())
    [outcome] = services.ask("marsh", "nobody", by="user:anna", now=NOW)
    assert "no token" in outcome.problem
    assert not Question.objects.exists()


# Two of them


@pytest.mark.xdist_group("processes")
@pytest.mark.django_db
def test_two_installations_ask_each_other(tmp_path: Path, settings: Any) -> None:
    """The other one is a process with a store of its own; it suspended somebody who comes to us."""
    settings.DATA_DIR = tmp_path / "ours"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    assert run(theirs, "migrate").returncode == 0
    secret = run(theirs, "peers", "add", "us", "--url", "https://us.example").stdout.strip()
    now = datetime.now(UTC)
    name, key = run(theirs, "peers", "key", "us").stdout.split()[:2]
    made = lambda purpose, identifier: make_token(base64.b64decode(key), name, purpose, identifier)  # noqa: E731
    events = [
        {
            "id": f"e{n}",
            "type": type_,
            "network": "reed",
            "at": now.isoformat(),
            "account": {"id": account, "tokens": tokens},
        }
        for n, (type_, account, tokens) in enumerate(
            [
                ("account.suspended", "bad", [made("mail", "heron@marsh.example"), made("device", "d-1")]),
                ("account.created", "good", [made("mail", "otter@marsh.example")]),
            ]
        )
    ]
    (theirs / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    assert run(theirs, "ingest", "events.jsonl").returncode == 0
    with serving(theirs) as url:
        services.agree("reed", url, secret=secret, by="user:anna", now=now)
        assert services.platform_keys("reed", now=now)[0] == (name, key)
        tell("back", made("mail", "HERON@marsh.example"), made("device", "d-2"), at=now)
        tell("new", made("mail", "otter@marsh.example"), at=now)
        assert services.ask("marsh", "back", by="user:anna", now=now) == [
            services.Outcome(peer="reed", found=("mail",), asked=2)
        ]
        assert services.ask("marsh", "new", by="user:anna", now=now) == [services.Outcome(peer="reed", asked=1)]
    [down] = services.ask("marsh", "new", by="user:anna", now=now)
    assert "no answer" in down.problem
    assert list(Question.objects.order_by("pk").values_list("account_id", "found")) == [
        ("back", ["mail"]), ("new", []), ("new", []),
    ]  # fmt: skip
    listed = run(theirs, "peers", "list").stdout
    assert "they asked 3" in listed  # the masks once, two questions
