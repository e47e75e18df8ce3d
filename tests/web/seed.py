"""A small lifelike installation for the console's tests: people, a connected platform, events, cases, actions.

Everything is a harmless stand-in. It is put there through the models and the rooms' own services, as the walk would.
"""

from __future__ import annotations

import functools
import io
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from PIL import Image, ImageDraw

PASSWORD = "heron-over-the-marsh-7"
PEOPLE = {"mara": "moderator", "lee": "lead", "ada": "admin"}
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnol si siht\u202c {{ 7|add:7 }} a\u200bb\u2066c\u2069 "
    "\u0000\u001b[31m " + "w" * 3000 + " " + "ی\u200cپ 👩\u200d🚒 " + "z\u0301\u0302\u0303\u0304" * 40 + "\nend"
).replace("\u0000", "")


@functools.cache
def picture(seed: int, width: int = 640, height: int = 420) -> bytes:
    """A made-up landscape: sky, marsh and a few birds."""
    image = Image.new("RGB", (width, height), (180 - seed * 7 % 60, 200, 215))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 2 // 3, width, height), fill=(110, 130 - seed % 40, 90))
    draw.ellipse((width * 3 // 4, 40, width * 3 // 4 + 80, 120), fill=(245, 220, 150))
    for bird in range(5):
        x, y = 60 + bird * 110 + seed * 13 % 50, 90 + (bird * 53 + seed * 29) % 120
        draw.arc((x, y, x + 40, y + 24), 180, 350, fill=(40, 40, 40), width=4)
        draw.arc((x + 36, y, x + 76, y + 24), 190, 360, fill=(40, 40, 40), width=4)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


@functools.cache
def video() -> bytes:
    """Twelve seconds of a sun that crosses a marsh."""
    import av
    import numpy as np

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(60):
            frame = np.full((180, 320, 3), (190, 205, 215), np.uint8)
            frame[120:] = (110, 130, 90)
            x = 10 + number * 5
            frame[30:60, x : x + 30] = (245, 210, 130)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return out.getvalue()


def plant(now: datetime | None = None, *, many: int = 60) -> dict[str, Any]:
    """Fill the store; give what tests need to find: the ids of cases by name."""
    from redshank.archive.models import EventRecord
    from redshank.archive.services import NewEvent, blob_store, claim, keep_blobs, note_blobs, see_accounts
    from redshank.audit.services import Step, record
    from redshank.banks.models import Bank, Entry, MatchCount
    from redshank.banks.services import dispute_entry, give_opinion
    from redshank.cases import services as cases
    from redshank.core import decode_event, stable_id
    from redshank.enforcement import services as enforcement
    from redshank.people.models import User
    from redshank.policies.models import Policy

    now = now or datetime.now(UTC).replace(microsecond=0)
    settings.DATA_DIR = Path(settings.DATA_DIR)
    for name, role in PEOPLE.items():
        if not User.objects.filter(username=name).exists():
            User.objects.create_user(name, password=PASSWORD, role=role, first_name=name.capitalize())
    policies = list(Policy.objects.filter(retired_at=None))
    main, second = policies[0].slug, policies[1 % len(policies)].slug
    enforcement.connect(
        "marsh.example",
        "Marsh",
        "http://127.0.0.1:9/redshank",
        ["remove", "suspend", "label", "restore"],
        by="system",
        now=now,
    )
    enforcement.connect("reed.example", "Reed", "http://127.0.0.1:9/reed", ["remove", "restore"], by="system", now=now)
    banks = {}
    for name, kind, severity, text in (
        ("marsh-pictures", "pdq", 4, "Pictures that the iron wolf brigade spreads."),
        ("marsh-videos", "video", 5, "Videos of the same source."),
        ("iron-wolf-terms", "term", 3, "Names and calls of the iron wolf brigade."),
        ("recruiting-links", "url", 4, "Addresses that lead to its recruiters."),
    ):
        banks[name], made = Bank.objects.get_or_create(
            name=name,
            defaults={"kind": kind, "severity": severity, "description": text, "policy_id": main, "source": "own research", "created_at": now - timedelta(days=40)},
        )  # fmt: skip
        if made:
            for number in range(7):
                Entry.objects.create(
                    bank=banks[name], value=f"{number:02x}" * 32 if kind in ("pdq", "video") else f"iron wolf call {number}",
                    label=f"{text.split()[0].lower()} {number}", added_by="user:lee", added_at=now - timedelta(days=30 - number),
                    withdrawn_at=now - timedelta(days=1) if number == 2 else None, withdrawn_by="user:lee" if number == 2 else "",
                )  # fmt: skip
            Bank.objects.filter(pk=banks[name].pk).update(in_force=6, withdrawn=1)
    first = banks["marsh-pictures"].entries.earliest("pk")
    if not MatchCount.objects.exists():
        for day in range(25):
            hour = now.replace(minute=0, second=0) - timedelta(days=day, hours=1)
            MatchCount.objects.create(entry=first, hour=hour, count=1 + day * 37 % 90)
        give_opinion(first.pk, "Marsh watch", "agrees", by="system", now=now)
        dispute_entry(first.pk, "It is the logo of a news program.", by="user:mara", now=now)
        type(first).objects.filter(pk=first.pk).update(quarantined_at=now - timedelta(minutes=20))
    blobs = blob_store()
    still, film = blobs.put(picture(3)), blobs.put(video())
    note_blobs({still: blobs.path(still).stat().st_size, film: blobs.path(film).stat().st_size}, now=now)
    keep_blobs([still, film], "case")

    def event(id_: str, type_: str, at: datetime, **body: Any) -> Any:
        raw = {"id": id_, "type": type_, "network": "marsh.example", "at": at.isoformat(), **body}
        return decode_event(json.dumps(raw).encode(), now=now)

    def account(name: str, **more: Any) -> dict[str, Any]:
        return {"id": f"a-{name}", "handle": name, **more}

    wolf = account(
        "gray_harbor", display_name="Gray Harbor", bio="Patriot. Iron wolf brigade. Ask me how to join.", followers=412,
        following=1201, posts=96, created_at=(now - timedelta(days=9)).isoformat(),
    )  # fmt: skip
    text = "Brothers, the iron wolf brigade calls again. Meet at https://join.example/iw and bring two friends. Not long now."
    start = text.index("iron wolf brigade")
    events: list[tuple[Any, dict[str, str]]] = [
        (event("e-1", "account.created", now - timedelta(days=9), account=wolf), {}),
        (event("e-2", "post.created", now - timedelta(hours=30), account=wolf, post={"id": "p-2", "text": "Good morning from the harbor. Fog again."}), {}),
        (event("e-3", "post.created", now - timedelta(minutes=50), account=wolf, post={"id": "p-3", "text": text, "links": ["https://join.example/iw"], "media": [{"id": "m-1", "kind": "image", "alt": "A marsh at dusk, with birds."}, {"id": "m-2", "kind": "video"}]}), {"m-1": still, "m-2": film}),
        (event("e-4", "report.received", now - timedelta(minutes=40), account=wolf, report={"id": "r-1", "subject_kind": "post", "subject_id": "p-3", "reason": "Recruits for an armed group", "text": "My son was sent this. Please look at it soon.", "reporter": {"kind": "trusted_flagger", "name": "River Watch e. V."}}), {}),
        (event("e-5", "post.created", now - timedelta(hours=3), account=account("night_reed"), post={"id": "p-5", "text": HOSTILE}), {}),
        (event("e-6", "report.received", now - timedelta(minutes=52), account=account("night_reed"), report={"id": "r-2", "subject_kind": "account", "subject_id": "a-night_reed", "reason": "Removal order 12/26", "text": "To be removed within one hour of receipt.", "reporter": {"kind": "authority", "name": "District Court of Marshland"}}), {}),
        (event("e-7", "report.received", now - timedelta(hours=80), account=account("salt_song"), report={"id": "r-3", "subject_kind": "post", "subject_id": "p-7", "reason": "Hate", "reporter": {"kind": "user", "id": "a-kim"}}), {}),
        (event("e-8", "post.created", now - timedelta(hours=81), account=account("salt_song"), post={"id": "p-7", "text": "I read that the iron wolf brigade was tried in court yesterday."}), {}),
    ]  # fmt: skip
    claim([NewEvent(event=one, blobs=kept) for one, kept in events], now=now)
    see_accounts(one for one, _kept in events)
    EventRecord.objects.get_or_create(
        network="marsh.example", event_id="e-9",
        defaults={"type": "media.uploaded", "at": now, "received_at": now, "account_id": "a-salt_song", "subject_kind": "media", "subject_id": "m-9", "body": "{}", "state": "waiting", "due_at": now + timedelta(minutes=5), "attempts": 2, "error": "media m-9: the host did not answer within 60 s"},
    )  # fmt: skip

    def finding(kind: str, bank: str, where: dict[str, Any], label: str, **more: Any) -> dict[str, Any]:
        entry = banks[bank].entries.order_by("id").first()
        match = {
            "bank": bank,
            "entry": entry.pk,
            "value": entry.value,
            "policy": main,
            "severity": banks[bank].severity,
            "label": label,
            "source": "own research",
        }
        match |= {name: more.pop(name) for name in ("distance", "limit", "confirmed") if name in more}
        return {"detector": "banks", "kind": kind, "score": 0.9, "where": where, "match": match, **more}  # fmt: skip

    fired = {"rule": "recruiting", "version": "3f2a91c0", "policy": main, "description": "Recruiting words beside a known picture", "live": True, "because": ["len(findings) = 4", "account_age_days = 9"], "effects": []}  # fmt: skip

    def item(kind: str, event_id: str, body: dict[str, Any], at: datetime) -> cases.NewItem:
        key = stable_id("itm", kind, event_id, json.dumps(body, sort_keys=True))
        return cases.NewItem(key=key, kind=kind, event=f"marsh.example/{event_id}", body=body, at=at)  # type: ignore[arg-type]

    def report(number: int) -> dict[str, Any]:
        return json.loads(json.dumps(__import__("msgspec").to_builtins(events[number][0].report)))

    def ask(kind: str, id_: str, owner: str, source: str, priority: int, why: str, opened: datetime, due: timedelta, *items: Any, queue: str = "review", policy: str = main) -> int:  # fmt: skip
        from redshank.core import Subject

        subject = Subject("marsh.example", kind, id_, owner)
        request = cases.CaseRequest(
            subject=subject, policy=policy, queue=queue, priority=priority, priority_reason=why, source=source,
            deadline=opened + due, items=tuple(items),
        )  # fmt: skip
        return cases.gather([request], now=opened)["marsh.example", kind, id_]

    at = now - timedelta(minutes=49)
    span = {"in": "span", "field": "post.text", "start": start, "end": start + len("iron wolf brigade")}
    frames = {"in": "frames", "media": "m-2", "share": 0.42, "known_share": 0.8, "ranges": [{"start": 3.0, "end": 7.0, "known_start": 0.0, "known_end": 4.0}]}  # fmt: skip
    part = {"in": "part", "media": "m-1", "region": {"left": 0.55, "top": 0.05, "right": 0.95, "bottom": 0.6}, "known": {"left": 0.0, "top": 0.1, "right": 1.0, "bottom": 0.9}, "inliers": 34, "likeness": 0.92}  # fmt: skip
    then = part | {"media": "m-2", "second": 5.0, "known_second": 2.0}
    ids = {
        "main": ask(
            "post", "p-3", "a-gray_harbor", "trusted_flagger", 82, "A trusted flagger reports recruiting, and a known picture is beside it", at, timedelta(hours=1, minutes=38),
            item("finding", "e-3", finding("term", "iron-wolf-terms", span, "iron wolf brigade", seen="iron wolf brigade"), at),
            item("finding", "e-3", finding("pdq", "marsh-pictures", {"in": "whole", "field": "media:m-1"}, "Dusk over the marsh", distance=8, limit=31), at),
            item("finding", "e-3", finding("video", "marsh-videos", frames, "Sun crossing, first cut"), at),
            item("finding", "e-3", finding("part", "marsh-pictures", part, "Reeds by the water"), at),
            item("finding", "e-3", finding("part", "marsh-videos", then, "Gulls over the pier"), at),
            item("finding", "e-3", finding("url", "recruiting-links", {"in": "whole", "field": "post.links"}, "Recruiters' door", seen="https://join.example/iw", confirmed=False), at),
            item("fired", "e-3", fired, at), item("report", "e-4", report(3), now - timedelta(minutes=40)),
        ),
        "order": ask("account", "a-night_reed", "a-night_reed", "authority", 100, "A removal order with a legal deadline", now - timedelta(minutes=52), timedelta(hours=1), item("report", "e-6", report(5), now - timedelta(minutes=52)), queue="orders"),
        "hostile": ask("post", "p-5", "a-night_reed", "rule", 40, "Unusual characters", now - timedelta(hours=3), timedelta(hours=40), item("fired", "e-5", fired, now), policy=second),
        "late": ask("post", "p-7", "a-salt_song", "user", 50, "A user reports hate", now - timedelta(hours=80), timedelta(hours=72), item("report", "e-7", report(6), now - timedelta(hours=80)), policy=second),
    }  # fmt: skip
    for number in range(many):
        opened = now - timedelta(minutes=15 + number * 37 % 900)
        where = {"in": "span", "field": "post.text", "start": 0, "end": 9}
        source = ("rule", "user", "rule", "third_party", "rule")[number % 5]
        ids[f"more-{number}"] = ask(
            "post", f"q-{number}", f"a-q{number % 9}", source, 30 + number * 17 % 60, ("Two known terms in one post", "A known picture, cropped", "A user reports threats")[number % 3], opened, timedelta(hours=16 + number % 50),
            item("finding", f"x-{number}", finding("term", "iron-wolf-terms", where, f"iron wolf call {number % 7}", seen="iron wolf"), opened),
            policy=policies[number % len(policies)].slug,
        )  # fmt: skip
    lee = User.objects.get(username="lee")
    cases.take(ids["more-3"], lee, now=now)
    cases.comment(
        ids["main"], by=lee, text="Same flagger was right the last three times.", now=now - timedelta(minutes=20)
    )
    from redshank.core import Subject
    from redshank.enforcement.services import Ask

    done = ask(
        "post",
        "p-2",
        "a-gray_harbor",
        "user",
        50,
        "A user reports hate",
        now - timedelta(hours=28),
        timedelta(hours=72),
    )
    from redshank.cases.models import Case
    from redshank.enforcement.models import Action, Delivery

    case = Case.objects.get(pk=done)
    if case.state == "open":
        subject = Subject("marsh.example", "post", "p-2", "a-gray_harbor")
        cases.decide(
            done, by=lee, version=case.version, outcome="act", policy=second, reason="Calls for joining an armed group.",
            asks=[Ask(verb="remove", subject=subject), Ask(verb="label", subject=subject, label="context")], now=now - timedelta(hours=27),
        )  # fmt: skip
        removed, labeled = Action.objects.filter(case_id=done).order_by("verb").reverse()
        enforcement.settle(
            removed.pk, "confirmed", "", now=now - timedelta(hours=26, minutes=59), by="platform:marsh.example"
        )
        enforcement.settle(
            labeled.pk,
            "failed",
            "The platform could not be reached for 72 h.",
            now=now - timedelta(hours=1),
            by="system",
        )
        Delivery.objects.filter(pk=labeled.pk).update(
            state="dead", attempts=31, last_error="connection refused at 127.0.0.1:9"
        )
    ids["decided"] = done
    record([Step(actor="rule:recruiting@3f2a91c0", step="verdict", object="event:marsh.example/e-3", reason="Recruiting words beside a known picture", evidence=("marsh.example/e-3",), body={"case": ids["main"]})], now=at)  # fmt: skip
    ids["entry"] = first.pk
    ids["campaign"] = _campaigns(now)
    ids |= _imports(banks["marsh-pictures"], lee, now)
    _exchanges(now)
    return ids


def _imports(bank: Any, lee: Any, now: datetime) -> dict[str, int]:
    """A file that waits for a word, one that is taken in, and one that is none; give their ids."""
    from redshank.banks import imports
    from redshank.banks.models import ImportJob

    texts = {
        "waits": "value,label\n" + "".join(f"{number:02x}{'5a' * 31},reeds {number}\n" for number in range(40)) + f"wrong,{HOSTILE[:60]}\n",
        "taken": f"value\n{'c3' * 32}\n{'0' * 64}\nwrong\n",
        "broken": "<html>sign in</html>",
    }  # fmt: skip
    ids = {}
    for name, text in texts.items():
        job = ImportJob.objects.filter(name=f"{name}.csv").first()
        if job is None:
            job = imports.ask(bank, f"{name}.csv", [text.encode()], by=lee, now=now)
            imports.run_next(stop=threading.Event(), clock=lambda: now)
            if name == "taken":
                imports.release(job, by=lee, now=now)
                imports.run_next(stop=threading.Event(), clock=lambda: now)
        ids[f"import_{name}"] = job.pk
    return ids


def _exchanges(now: datetime) -> None:
    """A list of others that is held for a person, after a run that set some of it aside, and a share that was given."""
    from redshank.banks import services as banks
    from redshank.exchanges import running, services, sharing
    from redshank.exchanges.models import Exchange
    from redshank.policies.models import Policy

    if Exchange.objects.exists():
        return
    policy = Policy.objects.filter(retired_at=None)[0].slug
    for name, license_ in (("river-files", ""), ("own-files", "Members of the circle; no further")):
        banks.make_bank(name, kind="md5", policy=policy, severity=4, license=license_, by="user:lee", now=now)
    place = services.folder() / "river.csv"
    place.parent.mkdir(parents=True, exist_ok=True)
    river = services.add_exchange(
        "river-list", kind="csv", address="file:river.csv", banks=["river-files"], by="user:ada", now=now
    )  # fmt: skip
    for wanted in (range(1, 30), range(25, 60)):
        rows = [f"{number:032x},float {number}" for number in wanted]
        place.write_text("\n".join(["md5,label", *rows, f"wrong,{HOSTILE[:60]}"]) + "\n")
        running.run(river, clock=lambda: now)
    added = banks.add_entries(
        banks.get_bank("own-files"), [banks.NewEntry(value=f"{number:032x}") for number in range(1000, 1012)], by="user:lee", now=now
    )  # fmt: skip
    circle = sharing.make_share("circle", banks=["own-files"], description="Platforms around the marsh.", by="user:ada", now=now - timedelta(minutes=9))  # fmt: skip
    sharing.publish(circle, now=now - timedelta(minutes=9))
    banks.withdraw_entries(banks.get_bank("own-files"), added.entries[:2], by="user:lee", now=now)
    sharing.publish(circle, now=now)
    list(sharing.give(circle, "csv", to="River Watch e. V.", by="user:lee", now=now))


def _campaigns(now: datetime) -> int:
    """A campaign that moves, one of readers, and something hot; give the first one's id."""
    from redshank.campaigns.models import Campaign, HotObject
    from tests.campaigns import made

    if Campaign.objects.exists():
        return Campaign.objects.order_by("pk").values_list("pk", flat=True)[0]
    near = [("marsh.example", f"a-tern{at}") for at in range(9)] + [("marsh.example", "a-gray_harbor")]
    far = [("dune.example", f"d-tern{at}") for at in range(5)]
    readers = [("marsh.example", f"a-reader{at}") for at in range(7)]
    signs = (
        "Of those who shared one of its objects, 64% are in no campaign (median).",
        "100% of the objects come from one outlet: song.example.",
    )
    first, _second = made.plant(
        made.found([*near, *far], now=now, objects=24, moves=(made.MOVE,)),
        made.found(readers, now=now, name=f"song-{HOSTILE[:60]}", label="audience", signs=signs),
        now=now,
    )
    HotObject.objects.create(
        key="0" * 24, kind="link", value=HOSTILE[:400], networks=["dune.example", "marsh.example"], accounts=23,
        noticed_at=now, grew_at=now, seen_at=now,
    )  # fmt: skip
    return first.pk
