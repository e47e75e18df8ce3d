"""Finds a link among known links and domains, in as many steps as its host has labels and its path has parts.

The one idea: both sides are in the one form that `redshank.text` gives them, so that a look-up is a dictionary's. A link
that only leads to another is looked up under both.
"""

from __future__ import annotations

from collections.abc import Iterable

from redshank.text import Link, normalize_host, normalize_link

MAX_PARTS = 64
"""Parts of a path at which a known beginning may end; a longer path is looked up by its first ones and as a whole."""


class LinkIndex:
    """Known links and domains, built once and searched often.

    A known link matches the same link, in whatever way it is written, and no other. One that ends with `/*` matches
    what stands before the star and all that lies below it, by whole parts of the path. A known domain matches itself
    and all that lies in it.
    """

    def __init__(self, urls: Iterable[tuple[int, str]] = (), domains: Iterable[tuple[int, str]] = ()) -> None:
        """`urls` and `domains` are (entry's id, value), values as `canonical_url` and `canonical_domain` give them."""
        self._exact: dict[str, list[int]] = {}
        self._below: dict[str, list[int]] = {}
        self._domains: dict[str, list[int]] = {}
        for entry, url in urls:
            table, key = (self._below, url.removesuffix("/*")) if url.endswith("/*") else (self._exact, url)
            table.setdefault(key, []).append(entry)
        for entry, domain in domains:
            self._domains.setdefault(domain, []).append(entry)

    def __len__(self) -> int:
        """How many different links and domains there are."""
        return len(self._exact) + len(self._below) + len(self._domains)

    def find(self, link: Link) -> list[tuple[int, str]]:
        """Each entry that `link`, or a link within it, matches: its id, and what matched, a link or a domain.

        An entry is named once, however many links within match it.
        """
        found: dict[int, str] = {}
        self._find(link, found)
        for inner in link.inner:
            self._find(inner, found)
        return list(found.items())

    def find_host(self, host: str) -> list[tuple[int, str]]:
        """Each entry that `host` matches by a domain: its id and that domain."""
        found: dict[int, str] = {}
        self._find_domains(Link("", host), found)
        return list(found.items())

    def _find(self, link: Link, found: dict[int, str]) -> None:
        url = link.url
        if self._exact and url in self._exact:
            for entry in self._exact[url]:
                found.setdefault(entry, url)
        if self._domains:
            self._find_domains(link, found)
        if self._below:
            path = url.partition("?")[0].partition("#")[0]
            at = path.find("/", len("https://"))
            for _ in range(MAX_PARTS):
                if at < 0:
                    self._find_below(path, found)
                    break
                self._find_below(path[:at], found)
                at = path.find("/", at + 1)

    def _find_below(self, path: str, found: dict[int, str]) -> None:
        for entry in self._below.get(path, ()):
            found.setdefault(entry, path + "/*")

    def _find_domains(self, link: Link, found: dict[int, str]) -> None:
        for domain in link.domains():
            if domain in self._domains:
                for entry in self._domains[domain]:
                    found.setdefault(entry, domain)


def canonical_url(text: str) -> str | None:
    """A link as a bank keeps it; None for what is no link. A trailing `/*` (all below) stays."""
    below = text.rstrip().endswith("/*")
    link = normalize_link(text.rstrip().removesuffix("/*") if below else text)
    if link is None:
        return None
    if not below:
        return link.url
    return None if "?" in link.url or "#" in link.url else link.url.rstrip("/") + "/*"


def canonical_domain(text: str) -> str | None:
    """A domain or an address as a bank keeps it; None for what is none, and for a link to a page.

    Taken as well: `*.example.org`, `.example.org`, `https://www.example.org/`, `example[.]org`. `www.` goes, as it
    would keep out the domain that everybody means.
    """
    text = text.strip().removeprefix("*").removeprefix(".")
    link = normalize_link(text)
    if link is None or link.url != f"https://{link.host.removeprefix('www.')}/":
        host = normalize_host(text)
        return host if host and "." in host else None
    return link.url.removeprefix("https://").removesuffix("/")
