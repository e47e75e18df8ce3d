"""What is wrong with a rule file, said as a good compiler says it: where, the line itself, a caret, what would be right.

All that is wrong with a file is said at once. A diagnostic knows its line's text, so that it can be shown anywhere.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from redshank.core import Problem

_WINDOW = 100
"""Columns of a source line that are shown at most."""


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong (`error`) or looks wrong (`warning`). `line` and `column` count from 1; `width` is in characters."""

    severity: Literal["error", "warning"]
    message: str
    hint: str = ""
    file: str
    line: int
    column: int
    width: int = 1
    text: str = ""

    def render(self) -> str:
        """The diagnostic as a person reads it: one line of what and where, the source line with a caret, the hint."""
        head = f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"
        line, caret = self.excerpt
        gutter = str(self.line)
        blank = " " * len(gutter)
        out = [head, f"  {gutter} | {line}", f"  {blank} | {caret}"] if self.text.strip() else [head]
        if self.hint:
            out.append(f"  {blank} = {self.hint}")
        return "\n".join(line.rstrip() for line in out)

    @property
    def excerpt(self) -> tuple[str, str]:
        """The source line, or the part of it that matters, and a line with carets below what is meant."""
        return _window(self.text, self.column - 1, max(1, self.width))


class RuleErrors(Problem):
    """A rule file, or a folder of them, that cannot be loaded. `diagnostics` holds every error and warning in it."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        errors = [found for found in diagnostics if found.severity == "error"]
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        super().__init__(f"the rules have {count}:\n" + "\n\n".join(found.render() for found in errors))


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what `name` was probably meant to be; empty where nothing is near."""
    by_lower = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"Did you mean `{by_lower[near[0]]}`?" if near else ""


def _window(text: str, start: int, width: int) -> tuple[str, str]:
    """The part of `text` around `start`, and a line of carets below it, both as wide as a terminal shows them."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    first = 0
    if len(clean) > _WINDOW:
        first = max(0, min(start - _WINDOW // 3, len(clean) - _WINDOW))
    shown = clean[first : first + _WINDOW]
    start -= first
    width = max(1, min(width, len(shown) - start))
    before = "…" if first else ""
    after = "…" if first + _WINDOW < len(clean) else ""
    pad = len(before) + sum(map(_cells, shown[:start]))
    carets = sum(map(_cells, shown[start : start + width])) or 1
    return before + shown + after, " " * pad + "^" * carets


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
