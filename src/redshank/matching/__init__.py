"""Indexes over known things: hashes by Hamming distance, terms, links. Each stands alone and knows no store.

The Hamming index needs numba, which takes half a second to load; that is done when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redshank.matching.forms import ASKED, FILES, forms_of, holder
from redshank.matching.links import canonical_domain, canonical_url, link_forms
from redshank.matching.terms import TermIndex

if TYPE_CHECKING:
    from redshank.matching.hamming import HammingIndex

__all__ = [
    "ASKED",
    "FILES",
    "HammingIndex",
    "TermIndex",
    "canonical_domain",
    "canonical_url",
    "forms_of",
    "holder",
    "link_forms",
]


def __getattr__(name: str) -> Any:
    if name != "HammingIndex":
        raise AttributeError(name)
    from redshank.matching.hamming import HammingIndex

    return HammingIndex
