"""A whole small platform in one file, connected to Redshank: it tells what happens, and does what people there decide.

Two ideas are worth copying. What is to be told lies in an outbox, written in the same transaction as the thing itself,
until Redshank answered `accepted` or `duplicate`. And what is asked for is done once: an action's id is remembered in
the transaction that does it, so the same request again is answered from memory and changes nothing.

It uses Python's standard library alone, and Redshank's client to send events.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from redshank.client import Client, SendError

MAX_BODY = 64 * 1024 * 1024
TOLERANCE = 300
"""Seconds that a webhook may be old or early; an older one is somebody playing a recording."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    id TEXT PRIMARY KEY, handle TEXT NOT NULL, profile TEXT NOT NULL, made_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS posts (
    id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, body TEXT NOT NULL, made_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_of ON posts (account);
CREATE TABLE IF NOT EXISTS media (
    id TEXT PRIMARY KEY, post TEXT NOT NULL REFERENCES posts, kind TEXT NOT NULL, bytes BLOB NOT NULL);
-- What was asked of us, once each, and what we answered.
CREATE TABLE IF NOT EXISTS actions (
    id TEXT PRIMARY KEY, verb TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, received INTEGER NOT NULL, at TEXT NOT NULL);
-- What holds an account, a post or a media item, and by which action. Nothing holds: it is as its owner made it.
CREATE TABLE IF NOT EXISTS holds (
    action TEXT PRIMARY KEY REFERENCES actions, kind TEXT NOT NULL, subject TEXT NOT NULL, verb TEXT NOT NULL,
    label TEXT NOT NULL, until TEXT);
CREATE INDEX IF NOT EXISTS holds_on ON holds (kind, subject);
CREATE TABLE IF NOT EXISTS notices (
    number INTEGER PRIMARY KEY, account TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY, body TEXT NOT NULL, answer TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS outbox_unsent ON outbox (number) WHERE answer = '';
"""
TABLES = {"account": "accounts", "post": "posts", "media": "media"}


class Refused(Exception):
    """What was asked for cannot be done; the text says why, and `status` is that of the answer."""

    def __init__(self, why: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(why)
        self.status = status


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The id of a webhook that Redshank signed: HMAC-SHA-256 over `id.timestamp.body`. Raises Refused for any other."""
    webhook_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not secret:
        raise Refused("no webhook secret is set here", HTTPStatus.UNAUTHORIZED)
    if not stamp.isdigit() or abs(now - int(stamp)) > TOLERANCE:
        raise Refused("webhook-timestamp: not within five minutes", HTTPStatus.UNAUTHORIZED)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{stamp}.".encode() + body
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(right.encode(), one.encode()) for one in given):
        raise Refused("webhook-signature: does not fit", HTTPStatus.UNAUTHORIZED)
    return webhook_id


class Marsh:
    """Accounts, posts, media, and what was done to them, in one SQLite file."""

    def __init__(
        self, store: str, *, network: str = "marsh", secret: str = "", later: bool = False, url_above: int = MAX_BODY
    ) -> None:
        self.network, self.secret, self.later, self.url_above = network, secret, later, url_above
        self.address = ""
        self.news = threading.Event()
        self._lock = threading.RLock()
        self._db = sqlite3.connect(store, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {SCHEMA}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        self.news.set()

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # ── What people do here ─────────────────────────────────────────────────────────────────────────────────────────

    def add_account(self, asked: dict[str, Any]) -> str:
        """Make an account from {"id"?, "handle", "display_name"?, "bio"?, "at"?, …}; give its id. The same again: nothing."""
        account_id = str(asked.get("id") or f"a-{uuid.uuid4().hex[:12]}")
        handle, at = str(asked.get("handle") or account_id), _time(asked.get("at"))
        profile = {name: asked[name] for name in ("display_name", "bio", "language", "followers") if name in asked}
        with self._transaction() as db:
            new = db.execute(
                "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?)", (account_id, handle, json.dumps(profile), at)
            ).rowcount
            if new:
                self._tell("account.created", at=at, account=self._account(account_id))
        return account_id

    def add_post(self, asked: dict[str, Any]) -> str:
        """Publish {"account", "text", "id"?, "at"?, "links"?, "media"?: [{"id", "kind", "data" in base64}]}; give its id."""
        post_id, at = str(asked.get("id") or f"p-{uuid.uuid4().hex[:12]}"), _time(asked.get("at"))
        author = str(asked.get("account", ""))
        media = [
            (str(one.get("id") or f"m-{uuid.uuid4().hex[:12]}"), post_id, str(one.get("kind", "image")), _bytes(one))
            for one in asked.get("media", [])
        ]
        body = {name: asked[name] for name in ("text", "links", "language", "hashtags", "reply_to") if name in asked}
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM accounts WHERE id = ?", (author,)).fetchone():
                raise Refused("no such account", HTTPStatus.NOT_FOUND)
            if (state := self.state("account", author)) != "active":
                raise Refused(f"this account is {state}", HTTPStatus.FORBIDDEN)
            new = db.execute(
                "INSERT OR IGNORE INTO posts VALUES (?, ?, ?, ?)", (post_id, author, json.dumps(body), at)
            ).rowcount
            if new:
                db.executemany("INSERT INTO media VALUES (?, ?, ?, ?)", media)
                post = self._post(post_id, with_media=True)
                self._tell("post.created", at=at, account=self._account(author), post=post)
        return post_id

    def add_report(self, asked: dict[str, Any]) -> str:
        """Report {"subject_kind", "subject_id", "reason", "text"?, "reporter"?: {"kind", "name"?}}; give its id."""
        report = {
            "id": str(asked.get("id") or f"r-{uuid.uuid4().hex[:12]}"),
            "subject_kind": str(asked.get("subject_kind", "post")),
            "subject_id": str(asked.get("subject_id", "")),
            "reason": str(asked.get("reason", "")),
            "text": str(asked.get("text", "")),
            "reporter": asked.get("reporter") or {"kind": "user"},
        }
        with self._transaction():
            owner = self._owner(report["subject_kind"], report["subject_id"])
            self._tell("report.received", at=_time(asked.get("at")), report=report, account=self._account(owner))
        return report["id"]

    # ── What Redshank asks for ──────────────────────────────────────────────────────────────────────────────────────

    def act(self, webhook_id: str, body: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any] | None]:
        """Do what an `action.requested` asks for, or remember that it was done; give the status and body of the answer."""
        asked = body.get("data", {})
        if body.get("type") != "action.requested" or asked.get("action") != webhook_id:
            raise Refused("not an action that we know how to do")
        with self._transaction() as db:
            had = db.execute("SELECT state, reason FROM actions WHERE id = ?", (webhook_id,)).fetchone()
            if had:
                db.execute("UPDATE actions SET received = received + 1 WHERE id = ?", (webhook_id,))
                if had["state"] == "taken":
                    return HTTPStatus.ACCEPTED, None
                return HTTPStatus.OK, _answer(webhook_id, had["state"], had["reason"], duplicate=True)
            subject = asked["subject"]
            db.execute(
                "INSERT INTO actions VALUES (?, ?, ?, ?, ?, 'taken', '', 1, ?)",
                (webhook_id, asked["verb"], subject["kind"], subject["id"], json.dumps(asked), _time(None)),
            )
            if self.later:
                return HTTPStatus.ACCEPTED, None
            state, reason = self._do(webhook_id, asked)
        return HTTPStatus.OK, _answer(webhook_id, state, reason)

    def do_taken(self) -> None:
        """Do what was taken and not done yet, and tell Redshank what became of it; lift what was for a time."""
        for row in self.rows("SELECT id, body FROM actions WHERE state = 'taken' ORDER BY rowid"):
            with self._transaction():
                state, reason = self._do(row["id"], json.loads(row["body"]))
                self._tell("action.updated", action=row["id"], state=state, **({"reason": reason} if reason else {}))
        for row in self.rows("SELECT * FROM holds WHERE until < ?", _time(None)):
            with self._transaction() as db:
                db.execute("DELETE FROM holds WHERE action = ?", (row["action"],))
                self._tell_restored(row["kind"], row["subject"])

    def _do(self, action: str, asked: dict[str, Any]) -> tuple[str, str]:
        verb, kind, subject = asked["verb"], asked["subject"]["kind"], asked["subject"]["id"]
        state, reason = "confirmed", ""
        table = TABLES.get(kind)
        if table is None or not self._db.execute(f"SELECT 1 FROM {table} WHERE id = ?", (subject,)).fetchone():
            state, reason = "failed", f"no such {kind}"
        elif verb == "restore":
            lifted = (asked["undoes"],) if asked.get("undoes") else ()
            only = " AND action = ?" if lifted else ""
            self._db.execute(f"DELETE FROM holds WHERE kind = ? AND subject = ?{only}", (kind, subject, *lifted))
            self._tell_restored(kind, subject)
        else:
            hours = asked.get("duration_hours")
            until = _time(datetime.now(UTC) + timedelta(hours=hours)) if hours else None
            hold = (action, kind, subject, verb, asked.get("label") or "", until)
            self._db.execute("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?)", hold)
            owner = self._owner(kind, subject)
            if verb == "suspend":
                self._tell("account.suspended", account=self._account(subject), reason=asked.get("policy", ""))
            elif verb == "remove" and kind == "post":
                self._tell("post.deleted", account=self._account(owner), post={"id": subject})
        if state == "confirmed" and asked.get("message"):
            self._db.execute(
                "INSERT INTO notices (account, text, at) VALUES (?, ?, ?)",
                (self._owner(kind, subject), asked["message"], _time(None)),
            )
        self._db.execute("UPDATE actions SET state = ?, reason = ? WHERE id = ?", (state, reason, action))
        return state, reason

    def _tell_restored(self, kind: str, subject: str) -> None:
        if self.state(kind, subject) != "active":
            return
        account = self._account(self._owner(kind, subject))
        if kind == "account":
            self._tell("account.restored", account=account)
        elif kind == "post":
            self._tell("post.updated", account=account, post=self._post(subject))

    # ── How things stand ────────────────────────────────────────────────────────────────────────────────────────────

    def state(self, kind: str, subject: str) -> str:
        """active, restricted, removed or suspended: the hardest that holds it."""
        verbs = {
            row["verb"] for row in self.rows("SELECT verb FROM holds WHERE kind = ? AND subject = ?", kind, subject)
        }
        for verb, state in (("suspend", "suspended"), ("remove", "removed"), ("restrict", "restricted")):
            if verb in verbs:
                return state
        return "active"

    def labels(self, kind: str, subject: str) -> list[str]:
        """The notices that stand on it."""
        rows = self.rows("SELECT label FROM holds WHERE verb = 'label' AND kind = ? AND subject = ?", kind, subject)
        return [row["label"] for row in rows]

    def summary(self) -> dict[str, Any]:
        """Numbers: what there is, what was done, and what Redshank has yet to be told."""

        def count(sql: str) -> int:
            return int(self.rows(f"SELECT count(*) FROM {sql}")[0][0])

        return {
            "accounts": count("accounts"),
            "posts": count("posts"),
            "suspended": count("(SELECT DISTINCT subject FROM holds WHERE verb = 'suspend')"),
            "removed": count("(SELECT DISTINCT subject FROM holds WHERE verb = 'remove')"),
            "actions": count("actions"),
            "requests": int(self.rows("SELECT coalesce(sum(received), 0) FROM actions")[0][0]),
            "untold": count("outbox WHERE answer = ''"),
            "rejected": count("outbox WHERE answer NOT IN ('', 'accepted', 'duplicate')"),
        }

    def show(self, account_id: str) -> dict[str, Any]:
        """An account with its posts, as they stand, and what its owner was told."""
        found = self.rows("SELECT * FROM accounts WHERE id = ?", account_id)
        if not found:
            raise Refused("no such account", HTTPStatus.NOT_FOUND)
        posts = self.rows("SELECT * FROM posts WHERE account = ? ORDER BY made_at DESC, rowid DESC", account_id)
        return {
            "id": account_id,
            "handle": found[0]["handle"],
            "state": self.state("account", account_id),
            "labels": self.labels("account", account_id),
            "posts": [
                {
                    "id": post["id"],
                    "text": json.loads(post["body"]).get("text", ""),
                    "state": self.state("post", post["id"]),
                    "labels": self.labels("post", post["id"]),
                }
                for post in posts
            ],
            "notices": [row["text"] for row in self.rows("SELECT text FROM notices WHERE account = ?", account_id)],
        }

    def medium(self, media_id: str) -> tuple[str, bytes]:
        """The kind and the bytes of a media item that nothing hides."""
        found = self.rows("SELECT * FROM media WHERE id = ?", media_id)
        if not found:
            raise Refused("no such media", HTTPStatus.NOT_FOUND)
        if "removed" in (self.state("media", media_id), self.state("post", found[0]["post"])):
            raise Refused("removed", HTTPStatus.GONE)
        return found[0]["kind"], found[0]["bytes"]

    # ── Telling Redshank ────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, type_: str, *, at: str | None = None, **parts: Any) -> None:
        event = {"id": f"evt-{uuid.uuid4().hex}", "type": type_, "network": self.network, "at": at or _time(None)}
        event |= {name: part for name, part in parts.items() if part is not None}
        self._db.execute("INSERT INTO outbox (body) VALUES (?)", (json.dumps(event),))

    def tell(self, client: Client, limit: int = 200) -> int:
        """Send what waits in the outbox, oldest first; give how many got an answer. Raises SendError."""
        waiting = self.rows("SELECT * FROM outbox WHERE answer = '' ORDER BY number LIMIT ?", limit)
        if not waiting:
            return 0
        answers = list(client.send(json.loads(row["body"]) for row in waiting))
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "UPDATE outbox SET answer = ? WHERE number = ?",
                [(_said(answer), row["number"]) for answer, row in zip(answers, waiting, strict=True)],
            )
            self._db.execute("COMMIT")
        return len(answers)

    def _owner(self, kind: str, subject: str) -> str:
        if kind == "post":
            found = self.rows("SELECT account FROM posts WHERE id = ?", subject)
        elif kind == "media":
            found = self.rows(
                "SELECT account FROM posts JOIN media ON media.post = posts.id WHERE media.id = ?", subject
            )
        else:
            return subject
        return found[0]["account"] if found else ""

    def _account(self, account_id: str) -> dict[str, Any] | None:
        found = self.rows("SELECT * FROM accounts WHERE id = ?", account_id)
        if not found:
            return None
        row = found[0]
        return {"id": row["id"], "handle": row["handle"], "created_at": row["made_at"], **json.loads(row["profile"])}

    def _post(self, post_id: str, *, with_media: bool = False) -> dict[str, Any]:
        row = self.rows("SELECT * FROM posts WHERE id = ?", post_id)[0]
        post = {"id": post_id, **json.loads(row["body"])}
        media = self.rows("SELECT id, kind, bytes FROM media WHERE post = ? ORDER BY rowid", post_id)
        if with_media and media:
            post["media"] = [self._told(one["id"], one["kind"], one["bytes"]) for one in media]
        return post

    def _told(self, media_id: str, kind: str, data: bytes) -> dict[str, Any]:
        """A media item as Redshank is told of it: with its bytes, or, where they are many, where to fetch them."""
        if self.address and len(data) > self.url_above:
            return {"id": media_id, "kind": kind, "url": f"{self.address}/media/{quote(media_id, safe='')}"}
        return {"id": media_id, "kind": kind, "data": base64.b64encode(data).decode()}


def _said(answer: dict[str, Any]) -> str:
    if answer["status"] == "rejected":
        return f"rejected: {answer.get('field') or ''} {answer.get('reason', '')}"
    return str(answer["status"])


def _answer(action: str, state: str, reason: str, *, duplicate: bool = False) -> dict[str, Any]:
    return {"action": action, "state": state, **({"reason": reason} if reason else {}), "duplicate": duplicate}


def _time(value: Any) -> str:
    moment = datetime.now(UTC) if value is None else value
    return moment.isoformat() if isinstance(moment, datetime) else str(moment)


def _bytes(media: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(media.get("data", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refused("media: data is not base64") from None


# ── Serving ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def serve(marsh: Marsh, host: str = "127.0.0.1", port: int = 0, *, redshank: str = "", key: str = "") -> Iterator[str]:
    """Serve `marsh`, tell `redshank` (its address) what happens, and give our own address, until the block ends."""
    server = _Server((host, port), _Handler)
    server.marsh = marsh
    marsh.address = f"http://{host}:{server.server_address[1]}"
    stop = threading.Event()
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)]
    threads.append(threading.Thread(target=_keep_telling, args=(marsh, redshank, key, stop), daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield marsh.address
    finally:
        stop.set()
        marsh.news.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(10)


def _keep_telling(marsh: Marsh, redshank: str, key: str, stop: threading.Event) -> None:
    client = Client(redshank, key, tries=1) if redshank else None
    pause = 0.0
    while not stop.is_set():
        marsh.news.clear()
        try:
            marsh.do_taken()
            while client and not stop.is_set() and marsh.tell(client):
                pass
            pause = 0.0
        except SendError as error:
            pause = min(max(0.2, pause * 2), 10.0)
            print(f"Redshank did not take our events ({error}); again in {pause:g} s", flush=True)
        if stop.wait(pause):
            break
        if not pause:
            marsh.news.wait(1.0)
    if client:
        client.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    marsh: Marsh


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "say how long the body is; 64 MiB at most"})
            return
        body = self.rfile.read(int(length))
        self._answer(lambda: self._post(urlsplit(self.path).path, body))

    def do_GET(self) -> None:
        self._answer(lambda: self._get(urlsplit(self.path).path))

    def _answer(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Refused as refused:
            self._json(refused.status, {"error": str(refused)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": f"not understood: {error}"})

    def _post(self, path: str, body: bytes) -> None:
        marsh = self.server.marsh
        if path == "/redshank":
            headers = {name.lower(): value for name, value in self.headers.items()}
            webhook_id = check_signature(marsh.secret, headers, body, time.time())
            status, answer = marsh.act(webhook_id, json.loads(body))
            self._json(status, answer)
            return
        add = {"/accounts": marsh.add_account, "/posts": marsh.add_post, "/reports": marsh.add_report}.get(path)
        if add is None:
            raise Refused("no such page", HTTPStatus.NOT_FOUND)
        asked = json.loads(body)
        if isinstance(asked, list):
            self._json(HTTPStatus.CREATED, {"ids": [add(one) for one in asked]})
        else:
            self._json(HTTPStatus.CREATED, {"id": add(asked)})

    def _get(self, path: str) -> None:
        marsh = self.server.marsh
        if path == "/":
            self._html("Marsh", _accounts_page(marsh))
        elif path == "/summary.json":
            self._json(HTTPStatus.OK, marsh.summary())
        elif path.startswith("/accounts/") and path.endswith(".json"):
            self._json(HTTPStatus.OK, marsh.show(unquote(path[len("/accounts/") : -len(".json")])))
        elif path.startswith("/accounts/"):
            account = marsh.show(unquote(path[len("/accounts/") :]))
            self._html(f"{account['handle']} · Marsh", _account_page(account))
        elif path.startswith("/media/"):
            kind, data = marsh.medium(unquote(path[len("/media/") :]))
            self._send(HTTPStatus.OK, "video/mp4" if kind == "video" else "image/jpeg", data)
        else:
            raise Refused("no such page", HTTPStatus.NOT_FOUND)

    def _json(self, status: HTTPStatus, body: dict[str, Any] | None) -> None:
        self._send(status, "application/json", b"" if body is None else json.dumps(body).encode())

    def _html(self, title: str, body: str) -> None:
        page = _PAGE.replace("{title}", html.escape(title)).replace("{body}", body)
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in http.server
        """Nothing: the page shows what happens."""


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="3"><title>{title}</title><style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884; vertical-align: top }
.suspended, .removed { color: #c8432b; font-weight: 600 } .restricted { color: #a86a00; font-weight: 600 }
.removed ~ td, tr.hidden td { opacity: .6 } blockquote { margin: .5rem 0; padding-left: 1rem; border-left: 3px solid #8888 }
</style><body>{body}</body></html>"""


def _accounts_page(marsh: Marsh) -> str:
    held = "SELECT subject FROM holds WHERE kind = 'account'"
    order = f"ORDER BY id IN ({held}) DESC, rowid DESC LIMIT 200"
    rows = []
    for row in marsh.rows(f"SELECT * FROM accounts {order}"):
        state, labels = marsh.state("account", row["id"]), marsh.labels("account", row["id"])
        posts = marsh.rows("SELECT count(*) FROM posts WHERE account = ?", row["id"])[0][0]
        rows.append(
            f'<tr><td><a href="/accounts/{quote(row["id"], safe="")}">{html.escape(row["handle"])}</a></td>'
            f'<td class="{state}">{state}</td><td>{html.escape(", ".join(labels))}</td><td>{posts}</td></tr>'
        )
    numbers = marsh.summary()
    said = (
        f"{numbers['accounts']} accounts, {numbers['posts']} posts; {numbers['suspended']} suspended, {numbers['removed']} "
        f"removed; {numbers['actions']} actions done, {numbers['untold']} events still to be told to Redshank."
    )
    if numbers["rejected"]:
        last = marsh.rows(
            "SELECT answer FROM outbox WHERE answer NOT IN ('', 'accepted', 'duplicate') ORDER BY number DESC LIMIT 1"
        )[0][0]
        said += f" {numbers['rejected']} events were rejected, the last one: {last}"
    table = "".join(rows) or '<tr><td colspan="4">Nobody is here yet. POST /accounts makes an account.</td></tr>'
    head = "<tr><th>Account</th><th>State</th><th>Notice</th><th>Posts</th></tr>"
    return f"<h1>Marsh</h1><p>{html.escape(said)}</p><table>{head}{table}</table>"


def _account_page(account: dict[str, Any]) -> str:
    hidden = account["state"] == "suspended"
    posts = "".join(
        f'<tr{" class=hidden" if hidden else ""}><td class="{post["state"]}">{post["state"]}</td>'
        f"<td>{html.escape(post['text']) if post['state'] != 'removed' else '(removed)'}</td>"
        f"<td>{html.escape(', '.join(post['labels']))}</td></tr>"
        for post in account["posts"]
    )
    notices = "".join(f"<blockquote>{html.escape(text)}</blockquote>" for text in reversed(account["notices"]))
    labels = f" · {html.escape(', '.join(account['labels']))}" if account["labels"] else ""
    return (
        f'<p><a href="/">All accounts</a></p><h1>{html.escape(account["handle"])}</h1>'
        f'<p class="{account["state"]}">{account["state"]}{labels}</p>'
        + (f"<h2>What its owner was told</h2>{notices}" if notices else "")
        + f"<h2>Posts{' (hidden while suspended)' if hidden else ''}</h2>"
        + f"<table>{posts or '<tr><td>No posts yet.</td></tr>'}</table>"
    )
