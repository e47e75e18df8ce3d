"""Finds links in text, and brings each to the one form under which it is known.

The one idea: two links are the same if a person who follows them comes to the same place. So what does not change the
place goes (scheme, `www.`, default port, tracking parameters, their order, fragments), whatever way it is written in;
and a link that only leads to another carries that one along.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, unquote, unquote_plus

import idna
import msgspec

MAX_DEPTH = 3
"""How many redirects within redirects are unwrapped."""
MAX_INNER = 10
"""How many links within one link are looked at, on all levels together."""
MAX_HOST = 253
"""Longest host name, in characters of its A-label form (RFC 1035, 2.3.4, without the root's)."""

_SCHEME = r"[hH](?:[tT]{2}|[xX]{2}|\*\*)[pP][sS]?(?::|\[:\])(?://|\\\\)|[hH](?:[tT]{2}|[xX]{2})[pP][sS]?\[://\]"
_DOT = r"(?:\.|\[\.\]|\(\.\)|\[[dD][oO][tT]\]|\([dD][oO][tT]\))"
_HINT = re.compile(r"[.:\[(](?:(?<=\.)\w|(?<=:)//|(?<=[\[(])(?:\.|[dD][oO][tT])[\])]|(?<=\[):)")  # One set first: fast.
_ENDS = frozenset('<>"“”„«»‹›`|、。，；：！？（）「」『』【】《》〈〉\u3000')
_RUN = re.compile(f"[^\\s{''.join(map(re.escape, sorted(_ENDS)))}]*")
_START = re.compile(_SCHEME)
_NAME = re.compile(rf"[\w\u00ad\u200b-\u200d\u2060-]++(?:{_DOT}[\w\u00ad\u200b-\u200d\u2060-]++)*+")
_DOTS = re.compile(_DOT)
_ASCII_NAME = re.compile(r"[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++")
_TOP = re.compile(r"[A-Za-z]{2,24}|[xX][nN]--[A-Za-z0-9-]{1,59}|[^\W\d_a-zA-Z][^\W\d_]{1,62}")
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_TRAILING = frozenset(".,;:!?'’‘*~…([{&")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_OPENING = {open_: close for close, open_ in _PAIRS.items()}

_WEB = re.compile(r"h(?:tt|xx|\*\*)ps?(?::|\[:\]|(?=\[://\]))(?:[/\\]|\[://\])*", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]*:(?!\d+(?:[/?#]|$))")
_PLAIN_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*+")
_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|\d+)")
_PLAIN_PATH = re.compile(r"(?:/(?![./])[A-Za-z0-9._~!$&'()*+,;=:@-]*+)*+")
_PLAIN_PART = re.compile(r"[A-Za-z0-9._~!$'()*,;=:@/?-]*+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_BARE = re.compile(r"(?://)?[\w-]++(?:\.[\w-]++)++(?:[/?#:]|$)")
_IN_PATH = re.compile(r"/(h(?:tt|xx)ps?:/.+)", re.IGNORECASE | re.DOTALL)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_TRACKING = frozenset(
    [
        "fbclid", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "msclkid", "yclid",
        "ymclid", "twclid", "ttclid", "li_fat_id", "igshid", "igsh", "mc_cid", "mc_eid",
        "mkt_tok", "oly_anon_id", "oly_enc_id", "vero_id", "wickedid", "_openstat", "_ga", "_gl",
        "_hsenc", "_hsmi", "__hssc", "__hstc", "__hsfp", "hsctatracking", "ref_src", "ref_url",
        "s_cid", "rb_clickid", "scid", "srsltid",
    ]
)  # fmt: skip
_REDIRECTS = frozenset(
    [
        "url", "u", "uri", "q", "to", "target", "dest", "destination",
        "redirect", "redirect_to", "redirect_uri", "redirect_url", "redir", "rurl", "link", "href",
        "goto", "go", "out", "next", "continue", "return", "return_to", "returnto",
        "return_url", "ret", "r", "l", "site", "page", "view", "image_url",
        "imgurl", "imgrefurl",
    ]
)  # fmt: skip


class Link(msgspec.Struct, frozen=True):
    """A link in its one form.

    `url` is that form: `https://host[:port]/path[?query]`, for http as well. `host` is an A-label in lower case or an
    IP address, with `www.` where it had one. `inner` are the links it leads to by a redirect parameter or in its path,
    outermost first, 10 at most, from at most 3 levels; their own `inner` is empty.
    """

    url: str
    host: str
    inner: tuple[Link, ...] = ()

    def domains(self) -> Iterator[str]:
        """The host, then each domain that it lies in, the widest last: `a.example.org`, `example.org`, `org`."""
        host = self.host
        yield host
        if host[-1] != "]" and not host[-1].isdigit():  # An address lies in no domain.
            at = host.find(".")
            while at >= 0:
                yield host[at + 1 :]
                at = host.find(".", at + 1)


def find_links(text: str) -> list[tuple[int, int, str]]:
    """The links in `text` as (start, end, link as written), in code points, in their order; none overlaps another.

    Finds http and https addresses, bare domains and `www.` ones, and defanged ones (`hxxp://`, `example[.]org`);
    trailing punctuation and unbalanced brackets stay out. A bare name counts whose last label could be a top-level
    domain: there is no list of those that would age, and a `readme.md` is simply known to no bank. Mail addresses and
    mentions do not count. Time grows linearly with `text`.
    """
    out: list[tuple[int, int, str]] = []
    hint = _HINT.search(text)
    while hint:
        start, floor = hint.start(), out[-1][1] if out else 0
        while start > floor and not ((char := text[start - 1]) in _ENDS or char.isspace()):
            start -= 1
        end = _RUN.match(text, hint.start()).end()  # type: ignore[union-attr]  # It matches the empty run, too.
        for a, b in _links_of(text[start:end]):
            out.append((start + a, start + b, text[start + a : start + b]))
        hint = _HINT.search(text, max(end, hint.end()))
    return out


def _links_of(run: str) -> Iterator[tuple[int, int]]:
    """The links in a run of characters without white space."""
    starts = [found.start() for found in _START.finditer(run)]
    if not starts:
        yield from _bare_links(run)
        return
    # A further address begins a link of its own after a separator; after anything else it is part of the first.
    starts = [at for at in starts if at == starts[0] or run[at - 1] in ",;()[]'*"]
    for at, further in zip(starts, [*starts[1:], len(run)], strict=True):
        end = _trimmed(run, at, at + _cut_host(run[at:further]))
        if _START.match(run, at).end() < end:  # type: ignore[union-attr]  # It was found here.
            yield at, end


def _cut_host(link: str) -> int:
    """Where a link ends whose host runs into writing without spaces, as in `https://example.org看`."""
    begin = _START.match(link).end()  # type: ignore[union-attr]  # It begins so.
    name = _ASCII_NAME.match(link, begin)
    return name.end() if name and _SPACELESS.match(link, name.end()) else len(link)


def _bare_links(run: str) -> Iterator[tuple[int, int]]:
    done = 0
    for name in _NAME.finditer(run):
        start, end = name.span()
        if start < done or (start and run[start - 1] in "@/\\=&#$%~+.") or run[end : end + 1] == "@":
            continue
        if not run.isascii() and _SPACELESS.search(run, start, end):
            inside = _ASCII_NAME.search(run, start, end)
            start, end = inside.span() if inside else (start, end)
        labels = _DOTS.split(run[start:end])
        after = run[end : end + 1]
        if len(labels) < 2 or not (_TOP.fullmatch(labels[-1]) or (_is_ipv4(labels) and after and after in "/:")):
            continue
        done = _trimmed(run, start, len(run)) if after and after in "/:?#\\" else end
        done = max(done, end)
        yield start, done


def _is_ipv4(labels: list[str]) -> bool:
    return len(labels) == 4 and all(label.isascii() and label.isdigit() and int(label[:4]) < 256 for label in labels)


def _trimmed(run: str, start: int, end: int) -> int:
    """Where the link from `start` ends before `end`, without trailing punctuation and brackets that it did not open."""
    surplus: dict[str, int] = {}
    while end > start:
        char = run[end - 1]
        if char in _PAIRS:
            if char not in surplus:
                surplus[char] = run.count(char, start, end) - run.count(_PAIRS[char], start, end)
            if surplus[char] <= 0:
                break
            surplus[char] -= 1
        elif char not in _TRAILING:
            break
        elif _OPENING.get(char) in surplus:
            surplus[_OPENING[char]] += 1
        end -= 1
    return end


def normalize_link(url: str) -> Link | None:
    """`url` in its one form; None for what is no link to the web. Never raises; time grows linearly with `url`.

    Gone are: the difference of http and https, user and password, a leading `www.`, the ports 80 and 443, a trailing
    dot of the host and slash of the path, `.` and `..`, tracking parameters, and the fragment, unless it begins with
    `/` or `!` and so names a page. Hosts become A-labels (UTS #46, non-transitional) or the one form of an IP address;
    escapes are decoded where they need not be and in upper case elsewhere (RFC 3986, 6.2.2). Query parameters are
    sorted: hardly a site minds their order, and who hides a link changes it first. A link without scheme is one if
    its host has a dot. Normalizing again changes nothing.
    """
    return _normalize(url, MAX_DEPTH, [MAX_INNER])


def normalize_host(text: str) -> str | None:
    """A host as it stands in `Link.host`; None for what is none."""
    host = text.lower()
    host = host.removesuffix(".")
    if not _PLAIN_HOST.fullmatch(host):
        if host.startswith("[") and host.endswith("]"):
            with contextlib.suppress(ValueError):
                return f"[{ipaddress.IPv6Address(host[1:-1].partition('%')[0]).compressed}]"
        host = _a_labels(host)
        if not _PLAIN_HOST.fullmatch(host):
            return None
    if len(host) > MAX_HOST:
        return None
    if host[-1].isdigit() or host.rpartition(".")[2].startswith("0x"):
        return _ipv4(host)
    return host


def _normalize(url: str, depth: int, budget: list[int]) -> Link | None:
    text = _UNSEEN.sub("", url).strip() if not (url.isascii() and url.isprintable()) else url.strip()
    web = _WEB.match(text)
    if web:
        text = text[web.end() :]
    elif _OTHER_SCHEME.match(text):
        return None
    else:
        text = text.lstrip("/\\")
    end = len(text)
    for mark in "/?#\\":
        if 0 <= (found := text.find(mark, 0, end)) < end:
            end = found
    host, port = _authority(text[:end])
    if host is None or not (web or "." in host or host[0] == "["):
        return None
    rest, hash_, fragment = text[end:].partition("#")
    path, _, query = rest.partition("?")
    short = host
    while short.startswith("www.") and "." in short[4:]:
        short = short[4:]
    canonical = f"https://{short}{port}{_path(path)}"
    parts = _parameters(query) if query else []
    if parts:
        canonical += "?" + "&".join(parts)
    if hash_ and fragment[:1] in {"!", "/"}:
        canonical += "#" + _escaped(fragment, "!$&'()*+,;=:@/?#")
    if depth and ("http" in (low := rest.lower()) or "hxxp" in low or "=" in query):
        return Link(canonical, host, tuple(_inner(path, query, depth, budget)))
    return Link(canonical, host)


def _authority(text: str) -> tuple[str | None, str]:
    """Host and `:port` of an authority; the port is empty for the web's own."""
    if "@" in text:
        text = text.rpartition("@")[2]
    if "[" in text or "(" in text:
        text = _DOTS.sub(".", text)
    if text.startswith("["):
        host, _, port = text.partition("]")
        host, port = host + "]", port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if port:
        if not (port.isascii() and port.isdigit()) or len(port) > 9 or int(port) > 65535:
            return None, ""
        port = "" if int(port) in {80, 443} else f":{int(port)}"
    return normalize_host(unquote(host) if "%" in host else host), port


def _a_labels(host: str) -> str:
    """`host` in A-labels, also where IDNA 2008 forbids what browsers take, as in domains of emoji."""
    if len(host) > 4 * MAX_HOST:
        return ""
    try:
        return idna.encode(host, uts46=True).decode().lower().removesuffix(".")
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        pass
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _UNSEEN.sub("", host)).casefold())
    try:
        mapped.encode()  # Punycode would take a lone surrogate.
        labels = mapped.replace("。", ".").removesuffix(".").split(".")
        return ".".join(
            label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in labels
        ).lower()
    except UnicodeError:
        return ""


def _ipv4(host: str) -> str | None:
    """The dotted form of an IPv4 address in any of the forms that browsers take (WHATWG URL, IPv4 parser)."""
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) and len(part) < 16 for part in parts):
        return None
    try:
        numbers = [
            int(part[2:] or "0", 16) if part[:2] == "0x" else int(part, 8 if part[0] == "0" else 10) for part in parts
        ]
    except ValueError:
        return None
    *high, low = numbers
    if any(number > 255 for number in high) or low >= 256 ** (5 - len(numbers)):
        return None
    value = low + sum(number << (8 * (3 - place)) for place, number in enumerate(high))
    return str(ipaddress.IPv4Address(value))


def _path(path: str) -> str:
    if not _PLAIN_PATH.fullmatch(path):
        path = _escaped(path.replace("\\", "/"), "!$&'()*+,;=:@/")
        kept: list[str] = []
        for segment in path.split("/")[1:]:
            if segment == "..":
                if kept:
                    kept.pop()
            elif segment != ".":
                kept.append(segment)
        path = "/" + "/".join(kept)
    return path.rstrip("/") or "/"


def _parameters(query: str) -> list[str]:
    parts = []
    for raw in query.split("&"):
        part = raw if _PLAIN_PART.fullmatch(raw) else _escaped(raw.replace("+", "%20"), "!$'()*,;=:@/?")
        name = part.partition("=")[0].lower()
        if part and not (name.startswith("utm_") or name in _TRACKING):
            parts.append(part)
    parts.sort()
    return parts


def _escaped(text: str, safe: str) -> str:
    """RFC 3986, 6.2.2: what need not be escaped is not, what must be is, in upper case."""
    if not text.isascii() or not text.isprintable() or any(char in text for char in ' "<>[]\\^`{|}#'):
        text = quote(text, safe="%+" + safe, errors="replace")
    return _ESCAPE.sub(_unescape, text) if "%" in text else text


def _unescape(found: re.Match[str]) -> str:
    if found[1] is None:
        return "%25"
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()


def _inner(path: str, query: str, depth: int, budget: list[int]) -> Iterator[Link]:
    candidates: list[str] = []
    if in_path := _IN_PATH.search(path):
        candidates.append(in_path[1] + ("?" + query if query else ""))
    elif "%3a" in path.lower() and (in_path := _IN_PATH.search(unquote(path))):
        candidates.append(in_path[1])
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if len(value) < 4:
            continue
        plain = unquote_plus(value).strip()
        if _WEB.match(plain) or (name.lower() in _REDIRECTS and _BARE.match(plain)):
            candidates.append(plain)
    for candidate in candidates:
        if budget[0] <= 0:
            return
        budget[0] -= 1
        link = _normalize(candidate, depth - 1, budget)
        if link is not None:
            yield Link(link.url, link.host)
            yield from link.inner
