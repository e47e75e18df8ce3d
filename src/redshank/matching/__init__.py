"""Indexes over known things: hashes by Hamming distance, terms, links. Each stands alone and knows no store."""

from redshank.matching.hamming import HammingIndex
from redshank.matching.links import LinkIndex, canonical_domain, canonical_url
from redshank.matching.terms import TermIndex

__all__ = ["HammingIndex", "LinkIndex", "TermIndex", "canonical_domain", "canonical_url"]
