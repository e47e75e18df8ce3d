"""Whether a bank holds what a text names: the one look-up that rules make, whoever knows the bank.

The one idea: a text is brought into every form that an entry which means it may have, so that the look-up is a set's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from redshank.core import BankTexts
from redshank.matching.links import canonical_domain, link_forms
from redshank.text import bare_name, fold, normalize_link

FILES = ("md5", "sha1", "sha256", "sha512")
"""Kinds of banks that tell a file by its bytes."""
ASKED = ("url", "domain", "term", "name", *FILES)
"""Kinds of banks whose entries a text can name; whether pictures are alike, no text says."""
MAX_TERM_TEXT = 10_000
"""Characters of a text that may be a term; a longer one is none."""


def forms_of(kind: str, text: str) -> list[str]:
    """What an entry of a bank of `kind` may be so that `text` names it: a link, a host, a whole term, a name, a hash.

    A known domain is named by all that lies in it, a known beginning of links by all links below it.
    """
    match kind:
        case "url" | "domain":
            link = normalize_link(text)
            if link is not None:
                return [value for found, value in link_forms(link) if found == kind]
            domain = canonical_domain(text) if kind == "domain" else None
            return [] if domain is None else [domain]
        case "term":
            return [fold(text).text.strip()] if len(text) <= MAX_TERM_TEXT else []
        case "name":
            return [bare_name(text)]
        case _ if kind in FILES:
            return [text.strip().lower()]
        case _:
            return []


def holder(banks: Mapping[str, BankTexts]) -> Callable[[str, str], bool | None]:
    """A function of a bank's name and a text that says whether the bank holds it; None where it is not among `banks`, or of
    a kind that no text can be looked up in."""

    def holds(bank: str, text: str) -> bool | None:
        known = banks.get(bank)
        if known is None or known.kind not in ("", *ASKED):
            return None
        kinds = (known.kind,) if known.kind else ASKED
        return any(form in known.values for kind in kinds for form in forms_of(kind, text))

    return holds
