"""What known links and domains a link matches: as many as its host has labels and its path has parts.

The one idea: both sides are in the one form that `redshank.text` gives them, so that a look-up is a dictionary's. A link
that only leads to another is looked up under both.
"""

from __future__ import annotations

from collections.abc import Iterator

from redshank.text import Link, normalize_host, normalize_link

MAX_PARTS = 64
"""Parts of a path at which a known beginning may end; a longer path is looked up by its first ones and as a whole."""


def link_forms(link: Link) -> list[tuple[str, str]]:
    """What a known link or domain may be so that `link`, or a link within it, matches it: (`url` or `domain`, value), once each.

    A known link matches the same link, in whatever way it is written, and no other. One that ends with `/*` matches
    what stands before the star and all that lies below it, by whole parts of the path. A known domain matches itself
    and all that lies in it. Values are as `canonical_url` and `canonical_domain` give them.
    """
    return list(dict.fromkeys(form for one in (link, *link.inner) for form in _forms(one)))


def _forms(link: Link) -> Iterator[tuple[str, str]]:
    yield "url", link.url
    for domain in link.domains():
        yield "domain", domain
    path = link.url.partition("?")[0].partition("#")[0]
    at = path.find("/", len("https://"))
    for _ in range(MAX_PARTS):
        if at < 0:
            yield "url", path + "/*"
            break
        yield "url", path[:at] + "/*"
        at = path.find("/", at + 1)


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
