"""Local servers that speak the protocols of exchanges: medallion for TAXII, small ones of recorded shapes for the others."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape


class Request:
    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        parts = urlsplit(path)
        self.method = method
        self.raw = path
        self.path = parts.path
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.headers = headers
        self.body = body


Answer = tuple[int, dict[str, str], bytes | Iterator[bytes]]


def drip(body: bytes, ended: threading.Event) -> Iterator[bytes]:
    """`body` byte by byte, ever slower than anybody waits, until `ended` is set: its length is the first that is given."""
    yield str(len(body)).encode()
    for at in range(len(body)):
        if ended.wait(0.2):
            return
        yield body[at : at + 1]


class Server:
    """Answers as `answer` says; keeps every request. `break_after`: so many requests are answered, then the line goes dead."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.break_after: int | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                outer.requests.append(request)
                if outer.break_after is not None and len(outer.requests) > outer.break_after:
                    self.connection.close()
                    self.close_connection = True
                    return
                status, headers, content = outer.answer(request)
                chunks = iter((str(len(content)).encode(), content)) if isinstance(content, bytes) else content
                self.send_response(status)
                for name, value in {"Content-Length": next(chunks).decode(), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for chunk in chunks:
                    self.wfile.write(chunk)

            do_GET = do_POST = do_PUT = handle_any  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class ThreatExchange:
    """Graph API: threat_updates in order of last_updated, by cursor; its next addresses carry the token, as the real ones do."""

    TOKEN = "123456789|abcdefghijklmnopqrstuvwx"
    KIND = "threatexchange"
    SECRET = TOKEN
    OPTIONS = {"privacy_group": "777"}

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.told: list[tuple[str, str]] = []
        self.page = 2

    def put(self, key: str, kind: str, value: str, at: int, *, gone: bool = False, status: str = "MALICIOUS") -> None:
        type_ = {"pdq": "HASH_PDQ", "md5": "HASH_MD5", "url": "URI"}[kind]
        one = {"id": f"9{key}", "owner": {"id": "555"}, "status": status, "tags": {"data": [{"text": "made_up"}]},
               "reactions": [{"key": "DISAGREE_WITH_TAGS", "value": "666,123456789"}]}  # fmt: skip
        row = {"id": key, "indicator": value, "type": type_, "last_updated": at, "should_delete": gone,
               "descriptors": {"data": [one]}}  # fmt: skip
        self.rows = [*(old for old in self.rows if old["id"] != key), row]

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.TOKEN}":
            return as_json({"error": {"message": f"Bad token {self.TOKEN}"}}, 401)
        if request.method == "POST":
            self.told.append((request.path, request.body.decode()))
            return as_json({"success": True})
        assert request.path == "/777/threat_updates"
        since = int(request.query.get("start_time", 0))
        rows = sorted((row for row in self.rows if row["last_updated"] >= since), key=lambda row: row["last_updated"])
        at = int(request.query.get("after", 0))
        page = rows[at : at + self.page]
        paging = {}
        if at + self.page < len(rows):
            onward = str(at + self.page)
            paging = {"cursors": {"after": onward}, "next": f"https://graph.example/x?access_token={self.TOKEN}&after={onward}"}  # fmt: skip
        return as_json({"data": page, "paging": paging})


class Tcap:
    KIND = "tcap"
    SECRET = "ada:correct-horse-battery"
    OPTIONS: dict[str, str] = {}

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.page = 2
        self.signed_in = 0

    def put(self, key: str, kind: str, value: str, at: int, *, gone: bool = False) -> None:
        row = {"id": int(key), "hash_digest": value, "algorithm": {"pdq": "PDQ", "md5": "MD5"}[kind], "ideology": "made-up",
               "file_type": "png", "deleted": gone, "updated_on": at, "created_on": "2026-01-01T00:00:00Z"}  # fmt: skip
        self.rows = [*(old for old in self.rows if old["id"] != int(key)), row]

    def __call__(self, request: Request) -> Answer:
        if request.path == "/token-auth/tcap/":
            self.signed_in += 1
            fine = b"correct-horse-battery" in request.body
            return as_json({"token": f"t{self.signed_in}", "user": {}}) if fine else as_json({"error": "no"}, 403)
        assert request.path == "/api/hash-list/v2/all"
        if request.headers.get("authorization") != f"Bearer t{self.signed_in}":
            return as_json({}, 401)
        stamp, _, last = request.query.get("after", "").partition(",")
        rows = sorted(self.rows, key=lambda row: (row["updated_on"], row["id"]))
        rows = [row for row in rows if (row["updated_on"], row["id"]) > (float(stamp or 0), int(last or 0))]
        page = rows[: self.page]
        checkpoint = f"{page[-1]['updated_on']},{page[-1]['id']}" if page else None
        onward = "limit=2&offset=2" if len(rows) > self.page else None
        return as_json(
            {"count": len(rows), "next": onward, "previous": None, "checkpoint": checkpoint, "results": page}
        )


class StopNcii:
    KIND = "stopncii"
    SECRET = "subscription-1,fetch-key-1,feedback-1"
    OPTIONS: dict[str, str] = {}

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.page = 2
        self.told: list[Any] = []

    def put(self, key: str, kind: str, value: str, at: int, *, gone: bool = False) -> None:
        row = {"lastModtimestamp": at, "signalType": {"pdq": "ImagePDQ", "md5": "VideoMD5"}[kind], "hashValue": value,
               "hashStatus": "Withdrawn" if gone else "Active", "caseNumbers": [],
               "CSPFeedbacks": [{"source": "Other", "feedbackValue": "Blocked", "tags": []}]}  # fmt: skip
        self.rows = [*(old for old in self.rows if old["hashValue"] != value), row]

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("ocp-apim-subscription-key") != "subscription-1":
            return as_json({"message": "no"}, 401)
        if request.path == "/SubmitFeedback" and request.headers.get("x-functions-key") == "feedback-1":
            self.told.append(json.loads(request.body))
            return as_json({})
        assert request.path == "/FetchHashes"
        assert request.headers.get("x-functions-key") == "fetch-key-1"
        since = int(request.query["startTimestamp"])
        rows = sorted((row for row in self.rows if row["lastModtimestamp"] >= since), key=lambda row: row["lastModtimestamp"])  # fmt: skip
        at = int(request.query.get("nextPageToken", 0))
        more = at + self.page < len(rows)
        newest = max((row["lastModtimestamp"] for row in rows), default=since)
        return as_json({
            "count": len(rows), "nextPageToken": str(at + self.page) if more else None, "nextSetTimestamp": newest,
            "hasMoreRecords": more, "hashRecords": rows[at : at + self.page],
        })  # fmt: skip


class Ncmec:
    KIND = "ncmec"
    SECRET = "esp:s3cret-s3cret"
    OPTIONS: dict[str, str] = {}

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, str, int, bool, int]] = {}
        self.page = 2
        self.told: list[tuple[str, str]] = []

    def put(self, key: str, kind: str, value: str, at: int, *, gone: bool = False, member: int = 42) -> None:
        self.rows[key] = (kind, value, at, gone, member)

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("authorization") != basic(*self.SECRET.split(":")):
            return 401, {}, b""
        if request.method == "PUT":
            self.told.append((request.path, request.body.decode()))
            return 200, {}, b""
        if request.path.endswith("/reasons"):
            return 200, {}, b"<r xmlns='x'><availableFeedbackReasons><reason guid='g-1' name='wrong'/></availableFeedbackReasons></r>"  # fmt: skip
        from datetime import datetime

        since, to = (datetime.fromisoformat(request.query[name]).timestamp() for name in ("from", "to"))
        rows = [(key, *row) for key, row in self.rows.items() if since <= row[2] < to]
        at = int(request.query.get("start", 0))
        parts = []
        for key, kind, value, _at, gone, member in rows[at : at + self.page]:
            if gone:
                parts.append(f"<deletedImage><member id='{member}'>Some</member><id>{key}</id></deletedImage>")
                continue
            parts.append(
                f"<image><member id='{member}'>Some</member><id>{key}</id><classification>A1</classification><fingerprints>"
                f"<{kind}>{escape(value)}</{kind}></fingerprints><feedback><affirmativeFeedback type='{kind}'>"
                f"<members><member id='43'>Other</member></members></affirmativeFeedback></feedback></image>"
            )
        onward = ""
        if at + self.page < len(rows):
            onward = f"<paging><next>/v2/entries?from={request.query['from']}&amp;to={request.query['to']}&amp;start={at + self.page}&amp;size=2&amp;max=99</next></paging>"  # fmt: skip
        body = f"<queryResult xmlns='https://hashsharing.ncmec.org/hashsharing/v2'><images maxTimestamp='2026-01-01T00:00:00Z'>{''.join(parts)}</images>{onward}</queryResult>"  # fmt: skip
        return 200, {"Content-Type": "application/xml"}, body.encode()


class Misp:
    KIND = "misp"
    SECRET = "misp-key-0123456789"
    OPTIONS = {"sender": "us"}

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.told: list[tuple[str, Any]] = []
        self.page = 2

    def put(self, key: str, kind: str, value: str, at: int, *, gone: bool = False) -> None:
        row = {"uuid": key, "id": key, "type": kind, "value": value, "to_ids": True, "timestamp": str(at), "deleted": gone,
               "category": "Payload delivery", "comment": f"made up {key}",
               "Sighting": [{"type": "1", "Organisation": {"name": "Other"}}]}  # fmt: skip
        self.rows = [*(old for old in self.rows if old["uuid"] != key), row]

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("authorization") != self.SECRET:
            return as_json({"message": "Authentication failed."}, 403)
        asked = json.loads(request.body) if request.body else {}
        if request.path.startswith("/sightings/add/"):
            self.told.append((request.path, asked))
            return as_json({"saved": True})
        if request.path == "/attributes/restSearch":
            since, at = int(asked.get("timestamp", 0)), (asked["page"] - 1) * asked["limit"]
            rows = [row for row in self.rows if int(row["timestamp"]) >= since]
            return as_json({"response": {"Attribute": rows[at : at + asked["limit"]]}})
        return as_json({}, 404)


@contextmanager
def medallion(folder: Any) -> Iterator[tuple[str, str, Any]]:
    """A real TAXII 2.1 server with one collection: its API root, the collection's id, and its store."""
    import logging

    from medallion import application_instance, register_blueprints, set_config
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    name = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
    data = {
        "/discovery": {"title": "Made up", "default": "http://127.0.0.1/base/", "api_roots": ["http://127.0.0.1/base/"]},
        "root": {
            "information": {"title": "Root", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 9765625},
            "status": [],
            "collections": [
                {"id": name, "title": "Made up", "can_read": True, "can_write": True,
                 "media_types": ["application/stix+json;version=2.1"], "manifest": [], "objects": []}
            ],
        },
    }  # fmt: skip
    place = folder / "medallion.json"
    place.write_text(json.dumps(data))
    config = {
        "users": {"reader": "s3cret-s3cret"},
        "taxii": {"max_page_size": 3},
        "backend": {
            "module": "medallion.backends.memory_backend",
            "module_class": "MemoryBackend",
            "filename": str(place),
        },
    }
    for part in ("users", "taxii", "backend"):
        set_config(application_instance, part, config)
    if not application_instance.blueprints:
        register_blueprints(application_instance)
    server = make_server("127.0.0.1", 0, application_instance, threaded=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/root", name, application_instance.medallion_backend
    finally:
        server.shutdown()
