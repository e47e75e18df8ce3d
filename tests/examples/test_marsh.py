"""The example platform does what it is asked, once, really, and tells it, however often it must."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.platform.marsh import Marsh, Refused, check_signature, serve
from redshank.core import Subject, decode_event
from redshank.enforcement import letters, signing

SECRET = signing.derive_secret("a key of the tests", "marsh", 1)


@pytest.fixture
def marsh(tmp_path: Path) -> Iterator[Marsh]:
    marsh = Marsh(str(tmp_path / "marsh.sqlite3"), secret=SECRET)
    marsh.add_account({"id": "heron", "handle": "heron"})
    marsh.add_post(
        {"id": "p1", "account": "heron", "text": "Good <b>morning</b>", "media": [{"id": "m1", "data": "aGk="}]}
    )
    yield marsh
    marsh.close()


def webhook(id_: str, verb: Any, kind: str = "account", subject: str = "heron", undoes: str | None = None) -> bytes:
    ask = letters.Ask(verb=verb, subject=Subject("marsh", kind, subject), label="context" if verb == "label" else None)
    now = datetime.now(UTC)
    return letters.compose(
        id_, ask, policy="p", reason="r", message=f"You were told of {verb}.", automated=False, undoes=undoes, at=now
    ).encode()


def act(marsh: Marsh, id_: str, verb: Any, *args: Any, **more: Any) -> dict[str, Any] | None:
    return marsh.act(id_, json.loads(webhook(id_, verb, *args, **more)))[1]


def told(marsh: Marsh) -> list[dict[str, Any]]:
    return [json.loads(row["body"]) for row in marsh.rows("SELECT body FROM outbox ORDER BY number")]


def test_all_that_it_tells_is_of_the_schema(marsh: Marsh) -> None:
    marsh.add_report({"subject_kind": "post", "subject_id": "p1", "reason": "hate"})
    act(marsh, "1", "suspend")
    act(marsh, "2", "restore", undoes="1")
    act(marsh, "3", "remove", "post", "p1")
    act(marsh, "4", "restore", "post", "p1", undoes="3")
    marsh.later = True
    act(marsh, "5", "label", "post", "p1")
    marsh.do_taken()
    events = told(marsh)
    for event in events:
        decode_event(json.dumps(event).encode(), now=datetime.now(UTC))
    assert [event["type"] for event in events] == [
        "account.created", "post.created", "report.received", "account.suspended", "account.restored", "post.deleted",
        "post.updated", "action.updated",
    ]  # fmt: skip
    assert events[-1]["action"] == "5"
    assert len({event["id"] for event in events}) == len(events)


def test_the_same_action_again_is_answered_and_not_done(marsh: Marsh) -> None:
    assert act(marsh, "1", "suspend") == {"action": "1", "state": "confirmed", "duplicate": False}
    act(marsh, "2", "restore", undoes="1")
    assert act(marsh, "1", "suspend") == {"action": "1", "state": "confirmed", "duplicate": True}
    assert marsh.state("account", "heron") == "active"
    assert act(marsh, "3", "suspend", "account", "nobody") == {
        "action": "3", "state": "failed", "reason": "no such account", "duplicate": False,
    }  # fmt: skip


def test_a_restore_lifts_what_it_undoes_and_leaves_the_rest(marsh: Marsh) -> None:
    act(marsh, "1", "restrict")
    act(marsh, "2", "suspend")
    with pytest.raises(Refused, match="suspended"):
        marsh.add_post({"account": "heron", "text": "x"})
    act(marsh, "3", "restore", undoes="2")
    assert marsh.state("account", "heron") == "restricted"
    act(marsh, "4", "restore")
    assert marsh.state("account", "heron") == "active"
    act(marsh, "5", "remove", "post", "p1")
    with pytest.raises(Refused, match="removed"):
        marsh.medium("m1")


def test_only_what_redshank_signed_is_done(marsh: Marsh) -> None:
    with serve(marsh) as url, httpx.Client(base_url=url) as http:
        body = webhook("1", "suspend")
        headers = signing.sign([SECRET], "1", datetime.now(UTC), body)
        other = signing.sign([signing.derive_secret("another", "marsh", 1)], "1", datetime.now(UTC), body)
        old = signing.sign([SECRET], "1", datetime(2026, 1, 1, tzinfo=UTC), body)
        for wrong in ({}, other, old, {**headers, "webhook-id": "2"}):
            assert http.post("/redshank", content=body, headers=wrong).status_code == 401
        assert marsh.state("account", "heron") == "active"
        assert http.post("/redshank", content=body, headers=headers).json()["state"] == "confirmed"
        assert check_signature(SECRET, headers, body, time.time()) == "1"
        page = http.get("/").text
        assert 'class="suspended">suspended' in page
        page = http.get("/accounts/heron").text
        assert "You were told of suspend." in page
        assert "Good &lt;b&gt;morning&lt;/b&gt;" in page
        assert http.get("/media/m1").content == b"hi"
        assert http.post("/accounts", content=b"[1]").status_code == 400
        assert http.post("/accounts", content=b"\xff").status_code == 400
        assert http.get("/accounts/nobody").status_code == 404


class Listener(BaseHTTPRequestHandler):
    """A Redshank that takes events, when it feels like it."""

    answer: Callable[[list[dict[str, Any]]], tuple[int, dict[str, Any]]]

    def do_POST(self) -> None:
        import gzip

        lines = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        status, body = type(self).answer([json.loads(line) for line in lines.splitlines()])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_what_it_tells_is_kept_until_it_was_answered(marsh: Marsh) -> None:
    came: list[list[str]] = []

    def answer(events: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        came.append([event["id"] for event in events])
        if len(came) == 1:
            return 503, {"detail": "later"}
        if len(came) == 2:  # It took them, and the answer got lost.
            return 500, {}
        return 200, {"answers": [{"status": "duplicate"}, {"status": "rejected", "reason": "no"}]}

    handler = type("Handler", (Listener,), {"answer": staticmethod(answer)})
    redshank = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=redshank.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{redshank.server_address[1]}"
    with serve(marsh, redshank=address, key="rsk_x") as url, httpx.Client(base_url=url) as http:
        until = time.monotonic() + 30
        while http.get("/summary.json").json()["untold"] and time.monotonic() < until:
            time.sleep(0.02)
        assert "1 events were rejected, the last one: rejected:  no" in http.get("/").text
    redshank.shutdown()
    redshank.server_close()
    assert len(came) == 3
    assert came[0] == came[1] == came[2] == [event["id"] for event in told(marsh)]
