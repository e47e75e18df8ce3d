"""Errors for a person: what was wrong, where, and what to do about it."""

from __future__ import annotations


class Problem(Exception):
    """Something a person can mend.

    `what` is one sentence, `where` names the file, field or setting, `hint` says what to do; both may be empty.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head.rstrip('.')}. {self.hint}" if self.hint else head


class BadInput(Problem):
    """What somebody sent cannot be taken; the good beside it goes on."""
