"""The one form in which a bank of each kind keeps its values, and why some are not taken or match nothing by themselves.

The one idea: what is harmless is brought into form (case, white space, a prefix), what cannot be what it claims is set
aside by name, and what can but says nothing (the hash of an empty file, of a plain color) is kept and marked weak.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from redshank.core import BadInput
from redshank.matching import FILES, canonical_domain, canonical_url
from redshank.media import plugins
from redshank.text import bare_name, fold

KINDS = ("pdq", "video", "md5", "sha1", "sha256", "sha512", "url", "domain", "term", "name")
MAX_TERM = 200
"""Code points of a folded term."""
MAX_VALUE = 2048
LEAST_NAME = 3
"""Letters and digits of a name at least: fewer would be anybody's."""
PDQ_BITS = range(64, 193)
"""Bits set in the hash of a picture that shows something. PDQ compares with the median, so about half of them are: 112
to 142 in the 5,993 real hashes of ThreatExchange's test data."""

_DIGITS = {"pdq": 64, "video": 64, "md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_NAMES = {
    "pdq": "a PDQ hash", "video": "the SHA-256 of a video", "md5": "an MD5", "sha1": "a SHA-1", "sha256": "a SHA-256",
    "sha512": "a SHA-512",
}  # fmt: skip
_HEX = re.compile(r"[0-9a-f]*")
_PREFIX = re.compile(r"^(?:0x|pdq:|md5:|sha-?1:|sha-?256:|sha-?512:|video:)", re.IGNORECASE)
_UNSEEN = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]+")
_EMPTY = {name: hashlib.new(name, usedforsecurity=False).hexdigest() for name in FILES}


def canonical(kind: str, value: str) -> str:
    """`value` as a bank of `kind` keeps it; the same of what is in form. Raises `BadInput` saying why it cannot be."""
    if kind.startswith(plugins.PREFIX):
        if kind not in plugins.INSTALLED:
            raise BadInput("of a plug-in that is not installed", hint="The setting media.plugins names those that are.")
        return plugins.INSTALLED[kind].canonical(value)
    return _CANONICAL[kind](kind, value)


def kinds() -> tuple[str, ...]:
    """Every kind of bank there can be here, those of plug-ins as well."""
    return (*KINDS, *plugins.INSTALLED)


def space(kind: str) -> str:
    """What values of a bank of `kind` are told apart from: digests of files, whatever their kind, by their length alone.

    A video's value is a SHA-256 as well.
    """
    return "file" if kind in FILES or kind == "video" else kind


def weakness(kind: str, value: str, *, quality: int | None = None, enough: int = 0) -> str:
    """Why a canonical `value` says too little to match by itself; empty where it does not.

    `quality` is that of a PDQ hash, 0 to 100, None where it is not known; `enough` what it must reach.
    """
    if kind not in _DIGITS:
        return ""
    if not value.strip("0"):
        return "all-zero"
    if value == _EMPTY.get(kind):
        return "hash of an empty file"
    if kind == "pdq":
        if int(value, 16).bit_count() not in PDQ_BITS:
            return "of a picture that shows next to nothing"
        if quality is not None and quality < enough:
            return f"low quality: {quality} of 100"
    return ""


def _hash(kind: str, value: str) -> str:
    if len(value) == _DIGITS[kind] and _HEX.fullmatch(value):
        return value
    plain = _PREFIX.sub("", _UNSEEN.sub("", value)).lower()
    if not _HEX.fullmatch(plain):
        at = next(place for place, char in enumerate(plain) if char not in "0123456789abcdef")
        raise BadInput(f"not hexadecimal: {plain[at]!r} at place {at + 1}")
    if len(plain) != _DIGITS[kind]:
        raise BadInput(f"{len(plain)} hex digits; {_name(kind)} has {_DIGITS[kind]}")
    return plain


def _name(kind: str) -> str:
    return _NAMES[kind]


def _url(_kind: str, value: str) -> str:
    if (url := canonical_url(value)) is None:
        raise BadInput("not a link to the web")
    return _short(url)


def _domain(_kind: str, value: str) -> str:
    if (domain := canonical_domain(value)) is None:
        if canonical_url(value) is not None and "/" in value:
            raise BadInput("a link to a page, not a domain", hint="A bank of kind url takes it.")
        raise BadInput("not a domain of two labels or more, nor an address")
    return domain


def _term(_kind: str, value: str) -> str:
    term = fold(value[: 50 * MAX_TERM]).text.strip()
    if not term:
        raise BadInput("empty, or of invisible characters alone")
    if len(term) > MAX_TERM:
        raise BadInput(f"{len(term)} characters; a term has {MAX_TERM} at most")
    if len(term) == 1 and term.isascii():
        raise BadInput("a single character, which would match everywhere")
    return term


def _bare(_kind: str, value: str) -> str:
    name = bare_name(value)
    if len(name) < LEAST_NAME:
        raise BadInput(f"{len(name)} letters and digits; a name has {LEAST_NAME} at least")
    if len(name) > MAX_TERM:
        raise BadInput(f"{len(name)} characters; a name has {MAX_TERM} at most")
    return name


def _short(value: str) -> str:
    if len(value) > MAX_VALUE:
        raise BadInput(f"{len(value)} characters; {MAX_VALUE} is the most")
    return value


_CANONICAL: dict[str, Callable[[str, str], str]] = {
    "pdq": _hash,
    "video": _hash,
    "md5": _hash,
    "sha1": _hash,
    "sha256": _hash,
    "sha512": _hash,
    "url": _url,
    "domain": _domain,
    "term": _term,
    "name": _bare,
}
