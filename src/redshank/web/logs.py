"""Logs: one line an occurrence, as JSON for machines or text for people, on standard error.

All that writes logs, ours through structlog and others' through the standard library, leaves through one handler. What
`structlog.contextvars` holds (the event's key, above all) stands on every line. Content of posts and names of people are
never logged: an id leads to them.
"""

from __future__ import annotations

import logging.config
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_DETAIL = re.compile(r"^(DETAIL|CONTEXT|QUERY|LINE \d+):.*(\n +\^)?$", re.MULTILINE)
_QUIET = {"httpx": "WARNING", "httpcore": "WARNING", "asyncio": "WARNING", "PIL": "WARNING", "libav": "ERROR"}
"""Libraries that tell of every request or frame; of theirs, only what went wrong."""


def setup(form: str, level: str) -> None:
    """Send all logs to standard error as `form` (json or text), from `level` up. Calling it again changes both."""
    logging.config.dictConfig(dict_config(form, level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def dict_config(form: str, level: str) -> dict[str, Any]:
    """The same for `logging.config.dictConfig`, all by name, so that it can be handed to another process."""
    loud = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"redshank": {"()": "redshank.web.logs.formatter", "form": form}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "redshank"}
        },
        "root": {"handlers": ["stderr"], "level": loud},
        "loggers": {
            **{name: {"level": quiet} for name, quiet in _QUIET.items()},
            # granian's own; it would otherwise print beside us.
            "_granian": {"handlers": [], "level": loud, "propagate": True},
            "granian.access": {"handlers": [], "level": loud, "propagate": True},
            # What a stranger asked for in vain is no news; what broke on the way is, and is logged as an error.
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "ERROR"},
        },
    }


def formatter(form: str) -> logging.Formatter:
    """The formatter of the one handler."""
    if form == "json":
        last: list[Processor] = [
            structlog.processors.EventRenamer("message"),
            structlog.processors.format_exc_info,
            _without_values,
            structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False),
        ]
    else:
        last = [
            structlog.processors.format_exc_info,
            _without_values,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder(allow=())],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _without_values(logger: WrappedLogger, method: str, entry: EventDict) -> EventDict:
    """Takes out what a store quotes of a row when it refuses it (`DETAIL: Key (…)=(…) already exists`)."""
    for name in ("exception", "event", "message"):
        if isinstance(entry.get(name), str):
            entry[name] = _DETAIL.sub(r"\1: (left out)", entry[name])
    return entry
