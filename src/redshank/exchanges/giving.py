"""Reviewed entries in the formats of others: CSV, lines of JSON, STIX 2.1, MISP. Pure: what is given, becomes text.

Labels and notes are not given: they are written for people here, and may name accounts. What is shared no more is given as
withdrawn, so that whoever has it learns of it: a date in CSV and JSON, `revoked` in STIX, `deleted` in MISP.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from redshank.exchanges.sources.misp import TAG

FORMATS = ("csv", "json", "stix", "misp")
_PATHS = {
    "pdq": "file:hashes.'PDQ'", "md5": "file:hashes.MD5", "sha1": "file:hashes.'SHA-1'",
    "sha256": "file:hashes.'SHA-256'", "sha512": "file:hashes.'SHA-512'", "video": "x-redshank-video:sha256",
    "url": "url:value", "domain": "domain-name:value", "term": "x-redshank-term:value",
    "name": "user-account:account_login",
}  # fmt: skip
_MISP = {kind: (kind, "Payload delivery") for kind in ("md5", "sha1", "sha256", "sha512")} | {
    "url": ("url", "Network activity"), "domain": ("domain", "Network activity"),
}  # fmt: skip
COLUMNS = ("id", "kind", "value", "policy", "severity", "license", "shared_at", "changed_at", "withdrawn_at")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is given. `changed_at` is that of its place in the share, `id` the same for ever."""

    id: uuid.UUID
    kind: str
    value: str
    policy: str
    severity: int
    license: str
    shared_at: datetime
    changed_at: datetime
    withdrawn: bool


class Giver(msgspec.Struct, frozen=True, kw_only=True):
    """Who gives, and in which collection."""

    name: str
    collection: uuid.UUID
    title: str
    since: datetime

    @property
    def identity(self) -> str:
        """The id of the giver in STIX."""
        return f"identity--{uuid.uuid5(self.collection, 'identity')}"


def stamp(at: datetime) -> str:
    """A time of STIX: to the millisecond, in UTC."""
    at = at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _plain(item: Item) -> dict[str, Any]:
    return {
        "id": str(item.id), "kind": item.kind, "value": item.value, "policy": item.policy, "severity": item.severity,
        "license": item.license, "shared_at": stamp(item.shared_at), "changed_at": stamp(item.changed_at),
        "withdrawn_at": stamp(item.changed_at) if item.withdrawn else "",
    }  # fmt: skip


def as_csv(items: Iterable[Item]) -> Iterator[str]:
    """Lines of CSV with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for item in items:
        writer.writerow(_plain(item))
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def as_json(items: Iterable[Item]) -> Iterator[str]:
    """One object a line."""
    for item in items:
        yield msgspec.json.encode(_plain(item)).decode() + "\n"


def indicator(giver: Giver, item: Item) -> dict[str, Any]:
    """The STIX 2.1 indicator of `item`."""
    value = item.value.replace("\\", "\\\\").replace("'", "\\'")
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{item.id}",
        "created_by_ref": giver.identity,
        "created": stamp(item.shared_at),
        "modified": stamp(max(item.changed_at, item.shared_at)),
        "revoked": item.withdrawn,
        "indicator_types": ["malicious-activity"],
        "labels": [f"policy:{item.policy}", f"severity:{item.severity}"],
        "pattern": f"[{_PATHS[item.kind]} = '{value}']",
        "pattern_type": "stix",
        "valid_from": stamp(item.shared_at),
        "object_marking_refs": [marking_id(giver, item.license)],
    }


def marking_id(giver: Giver, text: str) -> str:
    """The id of the marking that says under what an item is given."""
    return f"marking-definition--{uuid.uuid5(giver.collection, 'license ' + text)}"


def frame(giver: Giver, licenses: Iterable[str]) -> list[dict[str, Any]]:
    """The objects that indicators refer to: who gives, and under what."""
    at = stamp(giver.since)
    who = {
        "type": "identity", "spec_version": "2.1", "id": giver.identity, "created": at, "modified": at,
        "name": giver.name, "identity_class": "organization",
    }  # fmt: skip
    markings = [
        {
            "type": "marking-definition", "spec_version": "2.1", "id": marking_id(giver, text), "created": at,
            "created_by_ref": giver.identity, "definition_type": "statement", "definition": {"statement": text},
        }
        for text in sorted(set(licenses))
    ]  # fmt: skip
    return [who, *markings]


def as_stix(giver: Giver, items: Iterable[Item], licenses: Iterable[str]) -> Iterator[str]:
    """A STIX 2.1 bundle."""
    yield '{"type": "bundle", "id": "bundle--' + str(uuid.uuid5(giver.collection, "bundle")) + '", "objects": ['
    for number, thing in enumerate(frame(giver, licenses)):
        yield ("" if number == 0 else ",\n") + msgspec.json.encode(thing).decode()
    for item in items:
        yield ",\n" + msgspec.json.encode(indicator(giver, item)).decode()
    yield "]}\n"


def as_misp(giver: Giver, items: Iterable[Item], at: datetime) -> Iterator[str]:
    """One MISP event with an attribute for each item. What MISP has no type for carries a tag that names its kind."""
    event: dict[str, Any] = {
        "uuid": str(giver.collection), "info": giver.title, "date": giver.since.strftime("%Y-%m-%d"),
        "threat_level_id": "2", "analysis": "2", "published": True, "timestamp": str(int(at.timestamp())),
        "publish_timestamp": str(int(at.timestamp())),
        "Orgc": {"name": giver.name, "uuid": str(uuid.uuid5(giver.collection, "identity"))},
    }  # fmt: skip
    yield '{"Event": ' + msgspec.json.encode(event).decode()[:-1] + ', "Attribute": ['
    for number, item in enumerate(items):
        yield (",\n" if number else "") + msgspec.json.encode(_attribute(item)).decode()
    yield "]}}\n"


def _attribute(item: Item) -> dict[str, Any]:
    type_, category = _MISP.get(item.kind, ("other", "Other"))
    tags = [f"redshank:policy={msgspec.json.encode(item.policy).decode()}", f'redshank:severity="{item.severity}"']
    tags += [] if item.kind in _MISP else [f'{TAG}"{item.kind}"']
    return {
        "uuid": str(item.id), "type": type_, "category": category, "value": item.value, "to_ids": True,
        "timestamp": str(int(item.changed_at.timestamp())), "deleted": item.withdrawn, "comment": item.license,
        "Tag": [{"name": tag} for tag in tags],
    }  # fmt: skip
