"""For commands that need the store: Django is set up when they run, not when `--help` is asked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def with_store(function: Callable[P, R]) -> Callable[P, R]:
    """Sets Django up before `function` runs. Import rooms that have models inside `function`, not above it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import django

        django.setup()
        return function(*args, **kwargs)

    return run
