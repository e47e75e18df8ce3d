"""Reads what people write: folded for matching, with its links found and brought to one form."""

from redshank.text.fold import Folded, bare_name, fold
from redshank.text.links import Link, find_links, normalize_host, normalize_link

__all__ = ["Folded", "Link", "bare_name", "find_links", "fold", "normalize_host", "normalize_link"]
