"""The door of the audit room: write an entry, preserve evidence. Both take part in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from redshank.audit.models import Entry, Evidence
from redshank.rows import add


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the walk, to be written down. The fields are those of `Entry`."""

    actor: str
    step: str
    object: str
    reason: str = ""
    evidence: tuple[str, ...] = ()
    body: dict[str, Any] = {}


def record(steps: Sequence[Step], *, now: datetime) -> None:
    """Append `steps` in their order. Nothing is written unless the caller's transaction is."""
    rows = [
        (step.actor, step.step, step.object, step.reason, json.dumps(step.evidence), json.dumps(step.body))
        for step in steps
    ]
    add(Entry, rows, ("actor", "step", "object", "reason", "evidence", "body"), same={"at": now})


def preserve(event: str, body: str, blobs: Sequence[str], *, now: datetime) -> str:
    """Keep `body`, the event and what was seen on it, as evidence, and give the SHA-256 it is found under.

    `event` is the event's key, `blobs` the SHA-256 of its media in the blob store. The same body again changes nothing.
    """
    digest = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
    Evidence.objects.bulk_create(
        [Evidence(sha256=digest, event=event, body=body, blobs=list(blobs), preserved_at=now)],
        ignore_conflicts=True,
    )
    return digest
