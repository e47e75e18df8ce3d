"""Addresses of strangers reach the public Internet and nothing inside; what comes back is bounded in every way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.media import FetchError, fetch
from redshank.media.fetching import is_public
from tests.media.made import LIMITS

Serve = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server on a free port of the loopback that treats each connection by a given function."""
    opened = []

    def start(treat: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        opened.append(server)

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        treat(connection)
                    except OSError:
                        pass

        threading.Thread(target=run, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in opened:
        server.close()


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> Callable[[socket.socket], None]:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return lambda connection: connection.sendall(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body)


def get(port: int, folder: Path, host: str = "127.0.0.1", path: str = "/a.jpg", **limits: object) -> Path:
    allowed = msgspec.structs.replace(LIMITS, fetch_private=(f"{host}:{port}",), **limits)
    return fetch(f"http://{host}:{port}{path}", folder / "got", allowed, resolve=lambda host, port: ["127.0.0.1"])


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


def test_a_file_comes_whole(serve: Serve, tmp_path: Path) -> None:
    port = serve(answer(body=b"x" * 100_000, Content_Length="100000"))
    assert get(port, tmp_path).read_bytes() == b"x" * 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://localhost/",
        "http://2130706433/", "http://0x7f.1/", "http://[::ffff:10.0.0.1]/", "http://0.0.0.0/", "http://10.1.2.3:8080/",
        "http://[fe80::1]/", "http://[fd00::1]/", "http://[64:ff9b::a00:1]/", "http://[2002:7f00:1::]/",
    ],
)  # fmt: skip
def test_an_address_inside_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"not public|not known") as caught:
        fetch(url, tmp_path / "got", LIMITS)
    assert caught.value.where == url
    assert is_empty(tmp_path)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1"], ["93.184.215.14", "10.0.0.1"], ["169.254.169.254"]])
def test_a_host_that_resolves_inside_is_refused(addresses: list[str], tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"cdn\.example has the address .* which is not public"):
        fetch("https://cdn.example/a.jpg", tmp_path / "got", LIMITS, resolve=lambda host, port: addresses)


def test_a_host_is_looked_up_once_and_that_address_is_used(serve: Serve, tmp_path: Path) -> None:
    """A name server that answers differently the second time is never asked a second time."""
    port = serve(answer(body=b"ok"))
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    allowed = msgspec.structs.replace(LIMITS, fetch_private=(f"cdn.example:{port}",))
    assert fetch(f"http://cdn.example:{port}/", tmp_path / "got", allowed, resolve=resolve).read_bytes() == b"ok"
    assert asked == ["cdn.example"]


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:9/", "http://169.254.169.254/", "//[::1]/", "file:///etc/passwd", "http://a:b@cdn.example/"],
)
def test_a_redirect_inside_is_refused(serve: Serve, tmp_path: Path, place: str) -> None:
    port = serve(answer("302 Found", Location=place))
    allowed = msgspec.structs.replace(LIMITS, fetch_private=(f"127.0.0.1:{port}",))
    with pytest.raises(FetchError, match=r"not public|only http and https|user name"):
        fetch(f"http://127.0.0.1:{port}/", tmp_path / "got", allowed)
    assert is_empty(tmp_path)


def test_redirects_are_followed_five_times(serve: Serve, tmp_path: Path) -> None:
    left = [5]

    def treat(connection: socket.socket) -> None:
        left[0] -= 1
        (answer(body=b"here") if left[0] < 0 else answer("301 Moved", Location=f"/{left[0]}"))(connection)

    port = serve(treat)
    assert get(port, tmp_path).read_bytes() == b"here"
    left[0] = 6
    with pytest.raises(FetchError, match="redirects more than 5 times"):
        get(port, tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://cdn.example/a", "only http and https"), ("file:///etc/passwd", "only http and https"),
        ("cdn.example/a.jpg", "only http and https"), ("http://user:word@cdn.example/", "user name"),
        ("http:///a.jpg", "without a host"), ("http://exa mple/", "not an address"), ("\x00", "not an address"),
        ("http://[::1/", "not an address"), ("http://cdn.example:99999/", "not an address"),
        ("http://cdn.example:0/", "not an address"),
    ],
)  # fmt: skip
def test_what_is_no_address_of_the_web_is_refused(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=words):
        fetch(url, tmp_path / "got", LIMITS, resolve=lambda host, port: ["127.0.0.1"])


def test_an_endless_body_is_cut(serve: Serve, tmp_path: Path) -> None:
    def treat(connection: socket.socket) -> None:
        answer()(connection)
        while True:
            connection.sendall(bytes(65536))

    with pytest.raises(FetchError, match="more than the 300,000 bytes allowed"):
        get(serve(treat), tmp_path, max_bytes=300_000)
    assert is_empty(tmp_path)


def test_a_body_that_says_it_is_too_large_is_not_read(serve: Serve, tmp_path: Path) -> None:
    port = serve(answer(Content_Length="99999999999"))
    with pytest.raises(FetchError, match="more than the"):
        get(port, tmp_path)


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["head", "body"])
def test_one_byte_at_a_time_does_not_hold_us(serve: Serve, tmp_path: Path, part: bytes) -> None:
    def treat(connection: socket.socket) -> None:
        connection.sendall(part)
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    with pytest.raises(FetchError, match="within 1 seconds") as caught:
        get(serve(treat), tmp_path, fetch_seconds=1)
    assert caught.value.temporary
    assert is_empty(tmp_path)


@pytest.mark.parametrize(
    ("treat", "words", "temporary"),
    [
        (answer("404 Not Found"), "answers 404", False),
        (answer("503 Busy"), "answers 503", True),
        (answer(body=b"x", Content_Encoding="gzip"), "encoded body", False),
        (answer("302 Found"), "without saying where", False),
        (answer(Content_Length="0"), "empty body", False),
        (answer(body=b"short", Content_Length="50"), "cannot be reached", True),
        (lambda connection: connection.sendall(b"SSH-2.0-x\r\n"), "cannot be reached", True),
        (lambda connection: None, "cannot be reached", True),
    ],
)  # fmt: skip
def test_other_answers_are_named(
    serve: Serve, tmp_path: Path, treat: Callable[[socket.socket], None], words: str, temporary: bool
) -> None:
    with pytest.raises(FetchError, match=words) as caught:
        get(serve(treat), tmp_path)
    assert caught.value.temporary is temporary
    assert is_empty(tmp_path)


def test_a_failure_leaves_what_was_there(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "got").write_bytes(b"before")
    with pytest.raises(FetchError):
        get(serve(answer("500 Oh")), tmp_path)
    assert (tmp_path / "got").read_bytes() == b"before"


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_by_that_one(ip: object) -> None:
    packed = ip.packed.hex()  # type: ignore[attr-defined]
    high, low = packed[:4], packed[4:]
    forms = [f"::ffff:{ip}", f"64:ff9b::{high}:{low}", f"2002:{high}:{low}::1"]
    assert {is_public(form) for form in forms} == {is_public(str(ip))}
    assert not is_public(f"::{high}:{low}")


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "1.1.1.1"])
def test_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "100.64.0.1", "192.168.1.1", "172.16.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "64:ff9b:1::1", "fe80::1%eth0", "nonsense", "",
    ],
)  # fmt: skip
def test_everything_else_is_not(address: str) -> None:
    assert not is_public(address)
