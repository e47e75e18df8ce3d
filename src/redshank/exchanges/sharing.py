"""Gives reviewed entries to others: what may leave, what has left, and to whom.

The one idea: a share is a list of its own, with a row for each entry that ever left. What may leave is asked anew at every
round; what may no longer stays as withdrawn, so that a withdrawal follows what was shared.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from redshank.audit.services import Step, record
from redshank.banks.models import Bank, Entry
from redshank.core import BadInput, Problem
from redshank.exchanges import giving
from redshank.exchanges.giving import Giver, Item
from redshank.exchanges.models import Claim, Share, Shared

BATCH = 500
MOST_NAMES = 500
UNNAMED = "A Redshank installation"
TICK = timedelta(microseconds=1)
PUBLISHED_EVERY = timedelta(minutes=1)


def get_share(name: str) -> Share:
    """The share of that name. Raises `Problem`."""
    found = Share.objects.filter(name=name).first()
    if found is None:
        names = ", ".join(Share.objects.values_list("name", flat=True)[:10])
        raise Problem("no such share", where=name[:80], hint=f"There are {names}." if names else "There is none.")
    return found


def make_share(
    name: str, *, banks: Sequence[str], readers: Sequence[str] = (), description: str = "", by: str, now: datetime
) -> Share:
    """A new share of `banks`, for the API keys that `readers` names. Raises `Problem` for a name that is taken or none."""
    if not name or len(name) > 64 or not all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
        raise Problem("not a name for a share", where=repr(name)[:80], hint="Use up to 64 letters, digits, - and _.")
    chosen = _banks(banks)
    with transaction.atomic():
        if Share.objects.filter(name=name).exists():
            raise Problem("there is a share of that name already", where=name)
        share = Share.objects.create(
            name=name,
            collection=uuid.uuid4(),
            description=description[:10_000],
            readers=_readers(readers),
            created_at=now,
        )
        share.banks.set(chosen)
        body = {"banks": sorted(banks), "readers": share.readers, "collection": str(share.collection)}
        record([Step(actor=by, step="share.made", object=f"share:{name}", body=body)], now=now)
    return share


def change_share(share: Share, changes: Mapping[str, Any], *, by: str, now: datetime) -> list[str]:
    """Change its `banks`, `readers`, `description` or whether it is `closed`; gives the names of what was changed.

    Of a share that is closed all is given as withdrawn.
    """
    with transaction.atomic():
        there = Share.objects.select_for_update().get(pk=share.pk)
        before = {
            "banks": sorted(bank.name for bank in there.banks.all()), "readers": there.readers,
            "description": there.description, "closed": there.closed_at is not None,
        }  # fmt: skip
        said = {**before, **changes}
        chosen = _banks(said["banks"])
        said |= {"banks": sorted(said["banks"]), "readers": _readers(said["readers"])}
        different = [name for name in before if said[name] != before[name]]
        if different:
            there.readers, there.description = said["readers"], str(said["description"])[:10_000]
            there.closed_at = (there.closed_at or now) if said["closed"] else None
            there.published_at = None
            there.save()
            there.banks.set(chosen)
            body = {name: [before[name], said[name]] for name in different}
            record([Step(actor=by, step="share.changed", object=f"share:{there.name}", body=body)], now=now)
    return different


def _readers(names: Sequence[str]) -> list[str]:
    return sorted({name.strip()[:100] for name in names if name.strip()})


def _banks(names: Collection[str]) -> list[Bank]:
    found = list(Bank.objects.filter(name__in=list(names)))
    if missing := set(names) - {bank.name for bank in found}:
        raise Problem("no such bank", where=min(missing)[:80], hint="`redshank banks list` shows them.")
    if not found:
        raise BadInput("no bank is named")
    for bank in found:
        if not bank.license:
            hint = "Its license to share says under what its entries may be handed on; it is empty."
            raise Problem("this bank may not be shared", where=bank.name, hint=hint)
        if bank.negative:
            raise Problem("a bank of what is harmless is not shared", where=bank.name)
    return found


def shareable(share: Share, now: datetime) -> QuerySet[Entry]:
    """The entries of its banks that may leave now.

    Our own that a person here added or confirmed, and those of others that a person here confirmed and that a source which lets us hand them
    on still lists; in force, not disputed, not in quarantine, not weak, of a bank with a license that is in force.
    """
    listed = Claim.objects.filter(entry=OuterRef("pk"), gone_at=None).exclude(exchange__license="")
    ours = Q(foreign=False) & (Q(added_by__startswith="user:") | Q(confirmed_at__isnull=False))
    theirs = Q(foreign=True, confirmed_at__isnull=False) & Exists(listed)
    lasting = Q(expires_at=None) | Q(expires_at__gt=now)
    return Entry.objects.filter(
        ours | theirs, lasting, bank__shares=share, bank__active=True, bank__negative=False, withdrawn_at=None,
        disputed_at=None, quarantined_at=None, weak="",
    ).exclude(bank__license="")  # fmt: skip


def waiting(share: Share, now: datetime) -> int:
    """How many entries of its banks are in force and may not leave, as nobody here reviewed them, or for another reason."""
    in_force = Entry.objects.filter(bank__shares=share, withdrawn_at=None)
    return in_force.count() - shareable(share, now).count()


def publish(share: Share, *, now: datetime) -> Counter[str]:
    """Bring the share up to date; gives how many entries are `shared` now that were not, and how many `withdrawn`.

    Writes one audit step, `share.published`, where anything changed. Several workers may; they wait for each other.
    """
    counts: Counter[str] = Counter()
    with transaction.atomic():
        there = Share.objects.select_for_update().get(pk=share.pk)
        at = max(now, (there.last_at or there.created_at) + TICK)
        may = shareable(there, now) if there.closed_at is None else Entry.objects.none()
        living = Shared.objects.filter(share=there, withdrawn=False)
        leaving = living.exclude(entry__in=may.values("pk")).order_by("entry_id").values_list("pk", flat=True)
        for part in _parts(leaving):
            for pk in part:
                Shared.objects.filter(pk=pk).update(withdrawn=True, changed_at=at)
                at += TICK
            counts["withdrawn"] += len(part)
        known = dict(Shared.objects.filter(share=there, withdrawn=True).values_list("entry_id", "pk"))
        coming = may.exclude(pk__in=living.values("entry_id")).order_by("pk").values_list("pk", flat=True)
        for part in _parts(coming):
            new = []
            for entry in part:
                if entry in known:
                    Shared.objects.filter(pk=known[entry]).update(withdrawn=False, changed_at=at)
                else:
                    name = uuid.uuid5(there.collection, str(entry))
                    new.append(Shared(share=there, entry_id=entry, name=name, first_at=at, changed_at=at))
                at += TICK
            Shared.objects.bulk_create(new, batch_size=BATCH)
            counts["shared"] += len(part)
        there.published_at = now
        if counts:
            there.last_at = at - TICK
            record(
                [Step(actor="system", step="share.published", object=f"share:{there.name}", body=dict(counts))], now=now
            )
        there.save(update_fields=["published_at", "last_at"])
    return counts


def _parts(ids: QuerySet[Any, int]) -> Iterator[list[int]]:
    """The ids, read before anything is changed that they depend on."""
    whole = list(ids)
    for start in range(0, len(whole), BATCH):
        yield whole[start : start + BATCH]


def publish_due(*, now: datetime) -> int:
    """Bring all shares up to date that were not for a minute; give how many entries were shared or withdrawn."""
    due = Share.objects.filter(Q(published_at=None) | Q(published_at__lt=now - PUBLISHED_EVERY))
    return sum(publish(share, now=now).total() for share in due)


def name_of_giver() -> str:
    """Who we are to those with whom we share."""
    return settings.REDSHANK.exchanges.organization or UNNAMED


def giver_of(share: Share) -> Giver:
    """Who gives it, as others read it."""
    return Giver(name=name_of_giver(), collection=share.collection, title=share.name, since=share.created_at)


def licenses_of(share: Share) -> list[str]:
    """Under what its entries are given."""
    return sorted(set(share.banks.exclude(license="").values_list("license", flat=True)))


def rows_of(
    share: Share, *, after: datetime | None = None, names: Collection[uuid.UUID] | None = None
) -> QuerySet[Shared]:
    """What was ever shared in it, in the order of change: after a time, or of these names alone."""
    rows = Shared.objects.filter(share=share).select_related("entry__bank").defer("entry__frames")
    rows = rows if names is None else rows.filter(name__in=list(names)[:MOST_NAMES])
    return (rows.filter(changed_at__gt=after) if after else rows).order_by("changed_at")


def item_of(row: Shared) -> Item:
    """A row as it is given."""
    bank = row.entry.bank
    return Item(
        id=row.name, kind=bank.kind, value=row.entry.value, policy=bank.policy_id,
        severity=bank.severity, license=bank.license or "withdrawn", shared_at=row.first_at, changed_at=row.changed_at,
        withdrawn=row.withdrawn,
    )  # fmt: skip


def give(share: Share, format_: str, *, to: str, by: str, now: datetime) -> Iterator[str]:
    """The whole share as text, piece by piece, in one of `giving.FORMATS`; what it gives is brought up to date before.

    Writes one audit step, `share.handed_out`, naming `to`. Raises `Problem` for another format, and where it is not
    said to whom.
    """
    if format_ not in giving.FORMATS:
        raise Problem("no such format", where=format_[:20], hint=f"There are {', '.join(giving.FORMATS)}.")
    if not to.strip():
        raise BadInput("it is not said for whom", hint="The log keeps who was given what.")
    publish(share, now=now)
    rows = rows_of(share)
    handed_out(share, to=to, by=by, how=format_, count=rows.count(), now=now)
    items = (item_of(row) for row in rows.iterator(chunk_size=2000))
    giver = giver_of(share)
    if format_ == "csv":
        return giving.as_csv(items)
    if format_ == "json":
        return giving.as_json(items)
    if format_ == "stix":
        return giving.as_stix(giver, items, licenses_of(share))
    return giving.as_misp(giver, items, now)


def handed_out(
    share: Share, *, to: str, by: str, how: str, count: int, now: datetime, first: str = "", last: str = ""
) -> None:
    """Write down that `count` rows, from `first` to `last` in the share's own time, were given to somebody."""
    body = {"to": to[:200], "how": how, "count": count, **({"first": first, "last": last} if first else {})}
    record([Step(actor=by, step="share.handed_out", object=f"share:{share.name}", body=body)], now=now)
