"""Fetches a file from an address that a stranger gave, and reaches nothing inside.

A host's addresses are checked where the connection is opened, and the connection goes to a checked address: there is no
second look-up that could answer differently. Redirects are followed here, each checked like the first address.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path

import httpcore
import httpx

from redshank.core.settings import MediaSettings
from redshank.media.hashes import FetchError

MAX_REDIRECTS = 5
STEP_SECONDS = 15.0
"""Longest wait for one connection attempt, one TLS handshake or one piece of an answer."""
USER_AGENT = "redshank (media of reported and posted content)"

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TEREDO = IPv6Network("2001::/32")
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, as text. Raises OSError where there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def fetch(url: str, dest: Path, limits: MediaSettings, *, resolve: Resolve = resolve) -> Path:
    """Fetch `url` into `dest`, which appears whole or not at all, and give `dest`.

    Raises FetchError (with `url` as its `where`) for any other scheme than http and https, user names in the address, addresses that are not
    public (loopback, private, link-local, multicast, reserved, and those inside IPv6), more than five redirects, an
    answer that is not 200, more than `max_bytes` bytes, an encoded body, or more than `fetch_seconds` seconds.
    Hosts of `fetch_private` are exempt from the check of addresses alone.
    """
    deadline = time.monotonic() + limits.fetch_seconds
    guard = Guard(limits.fetch_private, "media.fetch_private", resolve)
    guard.deadline = deadline
    handle, name = tempfile.mkstemp(dir=dest.parent, prefix=".fetch-")
    try:
        with os.fdopen(handle, "wb") as file, httpcore.ConnectionPool(network_backend=guard) as pool:
            _follow(pool, url, limits, file.write)
        Path(name).replace(dest)
    except FetchError as error:
        raise FetchError(error.what, where=url, hint=error.hint, temporary=error.temporary) from None
    except httpcore.TimeoutException:
        raise FetchError(f"no whole answer within {limits.fetch_seconds} seconds", where=url, temporary=True) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
        raise FetchError(
            f"cannot be reached: {str(error) or type(error).__name__}", where=url, temporary=True
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)
    return dest


def _follow(pool: httpcore.ConnectionPool, url: str, limits: MediaSettings, write: Callable[[bytes], object]) -> None:
    address = url
    for _ in range(MAX_REDIRECTS + 1):
        onward = _get(pool, checked(address), limits, write)
        if onward is None:
            return
        address = onward
    raise FetchError(f"redirects more than {MAX_REDIRECTS} times")


def checked(address: str) -> httpx.URL:
    """`address` in its parts. Raises FetchError for any other scheme than http and https, user names, and what is none."""
    try:
        parsed = httpx.URL(address)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise FetchError("not an address") from None
    if parsed.scheme not in {"http", "https"}:
        raise FetchError(f"only http and https are fetched, not {parsed.scheme or 'an address without a scheme'}")
    if parsed.userinfo:
        raise FetchError("an address with a user name in it is not fetched")
    if not parsed.host:
        raise FetchError("an address without a host")
    if "%" in parsed.host or (parsed.port is not None and not 0 < parsed.port < 65536):
        raise FetchError("not an address")
    return parsed.copy_with(fragment=None)


def _get(
    pool: httpcore.ConnectionPool, url: httpx.URL, limits: MediaSettings, write: Callable[[bytes], object]
) -> str | None:
    """Write the body of `url`, or give the address that it redirects to."""
    target = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host.strip(b"[]"), port=url.port, target=url.raw_path or b"/"
    )
    headers: list[tuple[bytes | str, bytes | str]] = [
        ("Host", url.netloc),
        ("User-Agent", USER_AGENT),
        ("Accept", "image/*, video/*, */*;q=0.5"),
        ("Accept-Encoding", "identity"),  # What is not packed cannot unpack into more than it seems.
        ("Connection", "close"),
    ]
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), STEP_SECONDS)
    with pool.stream("GET", target, headers=headers, extensions={"timeout": timeout}) as answer:
        fields = {name.lower(): value for name, value in answer.headers}
        if answer.status in {301, 302, 303, 307, 308}:
            place = fields.get(b"location")
            if place is None:
                raise FetchError("redirects without saying where to")
            try:
                return str(url.join(place.decode("ascii")))
            except (UnicodeDecodeError, httpx.InvalidURL, ValueError):
                raise FetchError("redirects to what is not an address") from None
        if answer.status != 200:
            raise FetchError(f"answers {answer.status}", temporary=answer.status in _TEMPORARY)
        if fields.get(b"content-encoding", b"identity").strip().lower() not in {b"identity", b""}:
            raise FetchError("answers with an encoded body, which was not asked for")
        said = fields.get(b"content-length", b"")
        _check_size(int(said) if said.isdigit() else 0, limits)
        size = 0
        for chunk in answer.iter_stream():
            size += len(chunk)
            _check_size(size, limits)
            write(chunk)
    if not size:
        raise FetchError("answers with an empty body")
    return None


def _check_size(size: int, limits: MediaSettings) -> None:
    if size > limits.max_bytes:
        raise FetchError(
            f"more than the {limits.max_bytes:,} bytes allowed", hint="The setting media.max_bytes says how many are."
        )


class Guard(httpcore.NetworkBackend):
    """Opens connections to public addresses alone, and lets none of their steps pass `deadline`, in monotonic seconds.

    Hosts of `private`, as host:port, are exempt from the check of addresses; `setting` names the setting that lists them.
    """

    def __init__(self, private: Collection[str], setting: str, resolve: Resolve = resolve) -> None:
        self.deadline = math.inf
        self._private = private
        self._setting = setting
        self._resolve = resolve
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to one of the host's addresses, all of which were found to be public."""
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError):
            raise FetchError(f"the host {host} is not known", temporary=True) from None
        shown = f"[{host}]" if ":" in host else host
        if f"{shown}:{port}" not in self._private:
            for address in addresses:
                if not is_public(address):
                    raise FetchError(
                        f"the host {host} has the address {address}, which is not public",
                        hint=f"The setting {self._setting} lists hosts that may be fetched from all the same.",
                    )
        problem: Exception = httpcore.ConnectError("no address")
        for address in addresses[:4]:
            try:
                stream = self._network.connect_tcp(
                    address, port, min(timeout or STEP_SECONDS, _left(self.deadline)), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
            else:
                return _Stream(stream, self)
        raise problem


class _Stream(httpcore.NetworkStream):
    """A connection on which the time that is left shrinks: one byte a second does not hold us for ever."""

    def __init__(self, stream: httpcore.NetworkStream, guard: Guard) -> None:
        self._stream = stream
        self._guard = guard

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most `max_bytes` bytes, none of them after the deadline."""
        return self._stream.read(max_bytes, min(timeout or STEP_SECONDS, _left(self._guard.deadline)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send `buffer` before the deadline."""
        self._stream.write(buffer, min(timeout or STEP_SECONDS, _left(self._guard.deadline)))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection under TLS, with the same deadline."""
        left = min(timeout or STEP_SECONDS, _left(self._guard.deadline))
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._guard)

    def get_extra_info(self, info: str) -> object:
        """What is known of the connection underneath."""
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left


def is_public(address: str) -> bool:
    """Whether `address`, IPv4 or IPv6 as text, belongs to the public Internet and to nothing inside.

    IPv6 addresses that carry an IPv4 address (mapped, 6to4, NAT64) are judged by that one; of all others only global
    unicast, 2000::/3, counts, without Teredo and what is set aside for documentation. Ranges: IANA's special-purpose
    registries, as Python's `ipaddress` has them.
    """
    try:
        ip: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.scope_id:
            return False
        inner = ip.ipv4_mapped or ip.sixtofour or (IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        if inner is None:
            return ip in _GLOBAL_UNICAST and ip not in _TEREDO and ip.is_global
        ip = inner
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
