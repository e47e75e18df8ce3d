"""A real platform's webhook on the loopback, that behaves as a test wants it to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """`got` holds (headers, body) of each request. `answer` gives status, headers and body for an action's id."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[str], tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.trickle: float | None = None
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/redshank"

    @property
    def actions(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((headers, body))
        status, more, answer = self.server.answer(headers["webhook-id"])
        if self.server.trickle is not None:
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\nX-Long: " + b"x" * 9000:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if self.server.released.wait(self.server.trickle):
                    break
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def confirm(action: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps({"action": action, "state": "confirmed"}).encode()


def always(status: int, body: bytes = b"", **headers: str) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    return lambda action: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@contextmanager
def receiving(answer: Callable[[str], tuple[int, dict[str, str], bytes]] = confirm) -> Iterator[Receiver]:
    server = Receiver(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


@contextmanager
def hanging() -> Iterator[str]:
    """The address of one who takes every connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/redshank"
