"""A made-up platform's day, from a seed: people, talk, follows, pictures, reports, and among them what was planted.

`build` is pure: the same seed, number and time give the same world, byte for byte. Beside each event that matters stands
the truth about it, so that what Redshank found can be held against what there was to find.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
from PIL import Image

from redshank.demo import pictures, words

Kind = Literal["picture", "video", "words", "link", "report", "return", "innocent"]
NETWORKS: Mapping[str, float] = {"marsh": 0.7, "dunes": 0.18, "reedbed": 0.12}
"""The networks, and each one's share of what happens."""
REMOVES = ("marsh", "dunes")
"""Those that can remove posts and suspend accounts; the other can only restrict and label."""
SPREAD = timedelta(hours=6)
LEAST = 400
"""Events of the smallest world: what is planted and who acts together need so many around them."""
BANKED_PICTURES = 8
VIDEO_SECONDS = 12
WEEK_SHARES = 12_000
"""What people shared in the week before: the measure for what is beyond chance."""
PAGES, TODAY = 22, 4
"""Pages that the campaign pushes, and those of them that it pushes today."""
HOUR, DAY = 3_600.0, 86_400.0
SPREAD_SECONDS = SPREAD.total_seconds()


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What an event really is. `way` says how it was disguised or edited, or who names a group innocently.

    `must`: losing it is a defect. Where it is False, finding it is luck and missing it is known.
    """

    kind: Kind
    way: str
    must: bool


class Happening(msgspec.Struct, frozen=True):
    """One event, JSON-like, and the truth about it where there is something to know."""

    event: dict[str, Any]
    truth: Truth | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Its network and id."""
        return self.event["network"], self.event["id"]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """All of it: what is known beforehand, and what happens, in its order."""

    known_pictures: tuple[bytes, ...]
    known_video: bytes
    happenings: tuple[Happening, ...]
    week: tuple[dict[str, Any], ...] = ()
    """What was shared in the week before, as events."""
    campaign: tuple[tuple[str, str], ...] = ()
    readers: tuple[tuple[str, str], ...] = ()
    """Who acts together, and who only reads the same outlet: network and account id."""


def build(seed: int, events: int, *, now: datetime) -> World:
    """The world of `seed`, with `events` events (`LEAST` at least) in the six hours before `now`."""
    return _Builder(seed, max(LEAST, events), now).build()


class _Builder:
    def __init__(self, seed: int, events: int, now: datetime) -> None:
        self.rng = np.random.default_rng([20_260_131, seed])
        self.total = events
        self.now = now
        self.people: dict[str, list[dict[str, Any]]] = {network: [] for network in NETWORKS}
        self.posts: dict[str, list[dict[str, Any]]] = {network: [] for network in NETWORKS}
        self.made: list[tuple[float, dict[str, Any], Truth | None]] = []
        self.week: list[dict[str, Any]] = []
        self.friends: dict[str, dict[str, Any]] = {}
        self.campaign: list[tuple[str, str]] = []
        self.readers: list[tuple[str, str]] = []
        self.serial = 0

    def build(self) -> World:
        originals = [self._scene(number) for number in range(BANKED_PICTURES)]
        known = tuple(pictures.as_jpeg(picture, 92) for picture in originals)
        footage = list(pictures.frames(self.rng, VIDEO_SECONDS))
        known_video = pictures.encode(footage, quality=23)
        self._people()
        self._planted_pictures(originals, known)
        self._planted_videos(footage, known_video)
        self._planted_words()
        self._planted_links()
        self._innocents()
        self._together()
        self._returns()
        self._everyday(self.total - self._number(0.008, 6))
        self._reports()
        self.made.sort(key=lambda entry: entry[0])
        happenings = tuple(Happening(self._dated(event, place), truth) for place, event, truth in self.made)
        return World(
            known_pictures=known, known_video=known_video, happenings=happenings, week=tuple(self.week), campaign=tuple(self.campaign),
            readers=tuple(self.readers),
        )  # fmt: skip

    # ── Small change ────────────────────────────────────────────────────────────────────────────────────────────────

    def _scene(self, number: int) -> Image.Image:
        return pictures.SCENES[number % len(pictures.SCENES)](self.rng, pictures.SIZE)

    def _pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def _number(self, share: float, least: int = 1) -> int:
        return max(least, round(self.total * share))

    def _id(self, letter: str) -> str:
        self.serial += 1
        return f"{letter}-{self.serial:06d}"

    def _network(self) -> str:
        return str(self.rng.choice(list(NETWORKS), p=list(NETWORKS.values())))

    def _who(self, network: str) -> dict[str, Any]:
        # A few talk much, most little.
        people = self.people[network]
        return people[min(len(people) - 1, int(len(people) * self.rng.random() ** 2.2))]

    def _when(self) -> float:
        """A place in the day, 0 to 1, after everybody has signed up: with an ebb and a flow."""
        while True:
            place = float(self.rng.uniform(0.15, 1))
            if self.rng.random() < 0.55 + 0.45 * math.sin(place * 9):
                return place

    def _put(self, place: float, network: str, kind: str, truth: Truth | None = None, **parts: Any) -> None:
        event = {"id": self._id("evt"), "network": network, "type": kind, **parts}
        self.made.append((place, event, truth))

    def _dated(self, event: dict[str, Any], place: float) -> dict[str, Any]:
        at = self.now - SPREAD * (1 - place)
        return {**event, "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    def _line(self, template: str) -> str:
        return template.format(
            thing=self._pick(words.THINGS), food=self._pick(words.FOODS), team=self._pick(words.TEAMS),
            number=int(self.rng.integers(3, 400)),
        )  # fmt: skip

    def _media(self, data: bytes, kind: str) -> dict[str, Any]:
        return {"id": self._id("m"), "kind": kind, "data": base64.b64encode(data).decode()}

    def _post(
        self,
        text: str,
        truth: Truth | None = None,
        *,
        network: str | None = None,
        account: dict[str, Any] | None = None,
        media: Sequence[dict[str, Any]] = (),
        links: Sequence[str] = (),
        place: float | None = None,
    ) -> dict[str, Any]:
        network = network or self._network()
        account = account or self._who(network)
        post: dict[str, Any] = {"id": self._id("p"), "text": text}
        if media:
            post["media"] = list(media)
        if links:
            post["links"] = list(links)
        place = self._when() if place is None else place
        self._put(place, network, "post.created", truth, account=_name(account), post=post)
        entry = {"post": post, "account": account, "place": place, "network": network, "truth": truth}
        if not media:
            self.posts[network].append(entry)
        return entry

    # ── Who is there ────────────────────────────────────────────────────────────────────────────────────────────────

    def _people(self) -> None:
        for network, share in NETWORKS.items():
            for _ in range(self._number(0.08 * share, 8)):
                handle = f"{self._pick(words.FIRST)}-{self._pick(words.SECOND)}-{int(self.rng.integers(10, 99))}"
                days = float(self.rng.exponential(500))
                account = {
                    "id": self._id("a"),
                    "handle": handle,
                    "display_name": handle.rpartition("-")[0].replace("-", " ").title(),
                    "bio": self._pick(words.BIOS),
                    "created_at": (self.now - SPREAD - timedelta(days=days)).isoformat(timespec="seconds"),
                    "followers": int(self.rng.exponential(120)),
                    "following": int(self.rng.exponential(80)),
                }
                self.people[network].append(account)
                self._put(float(self.rng.uniform(0, 0.1)), network, "account.created", account=account)

    # ── What is planted ─────────────────────────────────────────────────────────────────────────────────────────────

    def _planted_pictures(self, originals: Sequence[Image.Image], known: Sequence[bytes]) -> None:
        each = self._number(0.002, 2)
        for way, (must, edit) in pictures.EDITS.items():
            for _ in range(each):
                which = int(self.rng.integers(len(originals)))
                data = edit(originals[which], known[which], self.rng)
                # What is taken down by a rule at once is put where the platform can take it down.
                network = REMOVES[int(self.rng.integers(len(REMOVES)))] if way == "the same file" else None
                truth = Truth(kind="picture", way=way, must=must)
                media = [self._media(data, "image")]
                self._post(self._line(self._pick(words.CAPTIONS)), truth, network=network, media=media)

    def _planted_videos(self, footage: list[Image.Image], known: bytes) -> None:
        copies = [("the same file", True, known)]
        copies += [(way, must, edit(footage)) for way, (must, edit) in pictures.VIDEO_EDITS.items()]
        for way, must, data in copies:
            network = REMOVES[0] if way == "the same file" else None
            truth = Truth(kind="video", way=way, must=must)
            media = [self._media(data, "video")]
            self._post(self._line(self._pick(words.CAPTIONS)), truth, network=network, media=media)

    def _planted_words(self) -> None:
        recruiters = [(network, self._who(network)) for network in ("marsh", "marsh", "dunes")]
        for _ in range(self._number(0.0015, 2)):
            for way, must, disguise in words.DISGUISES:
                text = self._pick(words.PRAISE).format(group=self._pick(words.GROUPS), slogan=self._pick(words.SLOGANS))
                network, account = self._pick(recruiters)
                self._post(disguise(text), Truth(kind="words", way=way, must=must), network=network, account=account)

    def _planted_links(self) -> None:
        targets = [*words.LINKS, *(f"https://{domain}/join" for domain in words.DOMAINS)]
        for _ in range(self._number(0.001, 1)):
            for way, dress in words.REDIRECTS:
                link = self._pick(targets)
                parts = urlsplit(link)
                dressed = dress.replace("?", "&") if "utm_" in dress and parts.query else dress
                shown = dressed.format(
                    link=link,
                    upper=link.replace(parts.netloc, parts.netloc.upper()),
                    quoted=quote(link, safe=""),
                    dotted=link.replace(parts.netloc, f"{parts.netloc}.:443"),
                )
                truth = Truth(kind="link", way=way, must=True)
                in_text = self.rng.random() < 0.5
                text = (
                    self._pick(words.INVITES).format(link=shown) if in_text else self._line(self._pick(words.CAPTIONS))
                )
                self._post(text, truth, links=() if in_text else (shown,))

    def _innocents(self) -> None:
        for _ in range(self._number(0.0015, 1)):
            for way, template in words.INNOCENT:
                text = template.format(group=self._pick(words.GROUPS))
                self._post(text, Truth(kind="innocent", way=way, must=False))

    def _together(self) -> None:
        """A campaign that pushes the same pages at once, first here and later there; and readers of one outlet, who do not.

        Both began in the week before, and what everybody else shared then is there, too: without it nothing could be told
        from chance. Today they go on.
        """
        here, there = REMOVES
        # They say nothing else.
        crews = {here: [self.people[here].pop() for _ in range(6)], there: [self.people[there].pop() for _ in range(4)]}
        readers = [self.people[here].pop() for _ in range(7)]
        self.campaign = [(network, account["id"]) for network, crew in crews.items() for account in crew]
        self.readers = [(here, account["id"]) for account in readers]
        for _ in range(WEEK_SHARES):
            network = self._network()
            outlet = self._pick(words.OUTLETS)
            page = int(150 * self.rng.random() ** 1.8)
            # A page is read most in the hours after it came out.
            out = 6.6 * DAY * ((page * 37 + len(outlet) * 11) % 150) / 150
            self._shared(outlet, page, network, self._who(network), out + float(self.rng.exponential(5 * HOUR)))
        for page in range(PAGES):
            today = page >= PAGES - TODAY
            start = (
                SPREAD_SECONDS * (0.2 + 0.15 * (page - PAGES + TODAY))
                if today
                else float(self.rng.uniform(0, 6.7 * DAY))
            )
            for network, crew in crews.items():
                later = 0.0 if network == here else float(self.rng.uniform(40, 70) * 60)
                for account in crew:
                    if self.rng.random() < 0.85:
                        at = start + later + float(self.rng.uniform(0, 90))
                        self._shared(words.PUSHED, page, network, account, at, today=today)
            if today:
                continue
            start = float(self.rng.uniform(0, 6.5 * DAY))
            for account in readers:
                if self.rng.random() < 0.75:
                    self._shared(words.READ, page, here, account, start + float(self.rng.exponential(600)))
            for _ in range(12):
                self._shared(words.READ, page, here, self._who(here), start + float(self.rng.exponential(5_400)))

    def _shared(
        self, outlet: str, page: int, network: str, account: dict[str, Any], seconds: float, *, today: bool = False
    ) -> None:
        """A page was shared so many seconds after the week, or the day, began."""
        link, text = f"https://{outlet}/{page + 1}", self._line(self._pick(words.CAPTIONS))
        if today:
            self._post(text, network=network, account=account, links=[link], place=seconds / SPREAD_SECONDS)
            return
        at = self.now - SPREAD - timedelta(days=7) + timedelta(seconds=min(seconds, 7 * DAY - 60))
        post = {"id": self._id("w"), "text": text, "links": [link]}
        self.week.append(
            {
                "id": self._id("evt"), "network": network, "type": "post.created", "at": at.isoformat(),
                "account": _name(account), "post": post,
            }
        )  # fmt: skip

    def _returns(self) -> None:
        """Accounts are suspended; some of their owners come back under another name; others only look so: a fan, a brother, and a
        journalist who follows and cites whom they write about.

        Each of the suspended links a small site of its own, and some of those whom it follows follow it, too; those among them who know an
        owner again do so again. Nobody there follows a stranger. In a small world half of the friends is too little to be sure of finding.
        """
        network, large = "marsh", self.total >= 1000
        scene = [self._id("a") for _ in range(400)]  # Small accounts that few follow.
        olds = []
        for number in range(12 if large else 4):
            site = f"https://{self._pick(words.FIRST)}-{self._pick(words.SECOND)}-{number}.example/"
            old = self._member(network, scene, 0.02, 20 if large else 12, page=self._id("page"), site=site)
            old["friends"] = [self._friend(network, one) for one in old["follows"][: len(old["follows"]) // 3]]
            self._follow(network, old["friends"], old["account"], 0.1)
            self._put(0.4, network, "account.suspended", account=_name(old["account"]), reason="ban evasion")
            olds.append(old)
        ways = (("another name, the same friends", 1.0), ("another name, half of the friends", 0.5))
        for number, old in enumerate(olds[: 4 if large else 2]):
            way, share = ways[number % 2]
            kept = old["follows"][: round(share * len(old["follows"]))]
            place = 0.55 + 0.05 * number
            back = self._member(
                network, scene, place, 0 if share == 1 else 4, follows=kept, said=old["said"], bio=old["account"]["bio"] if share == 1 else "",
                site=old["site"], truth=Truth(kind="return", way=way, must=large or share == 1),
            )  # fmt: skip
            self._follow(
                network, [one for one in old["friends"] if self.rng.random() < 0.8], back["account"], place + 0.05
            )
        fan, related, reported = olds[-1], olds[-2], olds[-3 if large else -1]
        truth = Truth(kind="innocent", way="a fan", must=False)
        name = f"{fan['account']['handle']}-fan"
        self._member(network, scene, 0.6, 6, follows=fan["follows"][:1], handle=name, truth=truth)
        truth = Truth(kind="innocent", way="a brother on the same device", must=False)
        brother = self._member(network, scene, 0.65, 7, truth=truth)
        for place, one in ((0.3, related), (0.7, brother)):
            told = {**_name(one["account"]), "tokens": ["device:demo:c2FtZS1kZXZpY2UtaGVyZQ"]}
            self._put(place, network, "account.updated", account=told)
        truth = Truth(kind="innocent", way="a journalist", must=False)
        watched = reported["follows"][: round(0.3 * len(reported["follows"]))]
        self._member(
            network, scene, 0.62, 5, follows=watched, site=reported["site"], bio="Local news, slowly.", truth=truth
        )

    def _friend(self, network: str, account_id: str) -> dict[str, Any]:
        """One of a scene, who has been there for years."""
        name = f"{self._pick(words.FIRST)}-{self._pick(words.SECOND)}-{int(self.rng.integers(10, 99))}"
        created = (self.now - timedelta(days=float(self.rng.uniform(200, 2000)))).isoformat(timespec="seconds")
        account = {
            "id": account_id, "handle": name, "display_name": name.rpartition("-")[0].replace("-", " ").title(),
            "bio": self._pick(words.BIOS), "created_at": created,
        }  # fmt: skip
        if account_id not in self.friends:
            self.friends[account_id] = account
            self._put(0.01, network, "account.created", account=account)
        return self.friends[account_id]

    def _follow(self, network: str, friends: Sequence[dict[str, Any]], whom: dict[str, Any], place: float) -> None:
        for number, friend in enumerate(friends):
            at = place + 0.004 * number
            self._put(at, network, "follow.created", account=_name(friend), followed={"id": whom["id"]})

    def _member(
        self,
        network: str,
        scene: Sequence[str],
        place: float,
        many: int,
        *,
        follows: Sequence[str] = (),
        said: Sequence[str] = (),
        page: str = "",
        site: str = "",
        bio: str = "",
        handle: str = "",
        truth: Truth | None = None,
    ) -> dict[str, Any]:
        """A young account that follows some of a scene, and posts a little."""
        created = (self.now - SPREAD * (1 - place)).isoformat(timespec="seconds")
        name = handle or f"{self._pick(words.FIRST)}-{self._pick(words.SECOND)}-{int(self.rng.integers(10, 99))}"
        bio = bio or self._pick(words.BIOS)
        if page:  # Their own, on another network.
            bio = f"{bio} reedbed.example/@{page}"
        account = {
            "id": self._id("a"), "handle": name, "display_name": name.rpartition("-")[0].replace("-", " ").title(),
            "bio": bio, "created_at": created,
        }  # fmt: skip
        self._put(place, network, "account.created", truth, account=account)
        self._put(
            place + 0.001, network, "account.updated", account={**_name(account), "bio": bio, "created_at": created}
        )
        chosen = [*follows, *(scene[int(at)] for at in self.rng.permutation(len(scene))[:many])]
        for number, followed in enumerate(dict.fromkeys(chosen)):
            self._put(
                place + 0.002 * (number + 1),
                network,
                "follow.created",
                account=_name(account),
                followed={"id": followed},
            )
        lines = list(said) or [self._line(self._pick(words.SAYINGS)) for _ in range(2)]
        for number, text in enumerate(lines):
            links = [site] if site and number else []
            self._post(text, network=network, account=account, links=links, place=place + 0.03 + 0.004 * number)
        return {"account": account, "follows": list(dict.fromkeys(chosen)), "said": lines, "site": site}

    def _reports(self) -> None:
        for number in range(self._number(0.008, 6)):
            kind, reason, text = words.COMPLAINTS[number % len(words.COMPLAINTS)]
            network = self._network()
            told = [entry for entry in self.posts[network] if (entry["truth"] is not None) == (number % 3 == 0)]
            about = self._pick(told or self.posts[network])
            reporter = {"kind": kind, "id": f"r-{int(self.rng.integers(1, 60))}"}
            if kind != "user":
                reporter["name"] = {"authority": "National Referral Unit", "trusted_flagger": "Clear Water Line"}.get(
                    kind, "Marsh Volunteers"
                )
            report: dict[str, Any] = {"id": self._id("r"), "reason": reason, "text": text, "reporter": reporter}
            if number % 5 == 4:
                report |= {"subject_kind": "account", "subject_id": about["account"]["id"]}
            else:
                report |= {"subject_kind": "post", "subject_id": about["post"]["id"]}
            place = min(1.0, about["place"] + float(self.rng.uniform(0.005, 0.1)))
            truth = Truth(
                kind="report",
                way=f"by a {kind.replace('_', ' ')}" if kind != "authority" else "by an authority",
                must=True,
            )
            post = {"post": about["post"]} if report["subject_kind"] == "post" else {}
            self._put(place, network, "report.received", truth, report=report, account=_name(about["account"]), **post)

    # ── What just happens ───────────────────────────────────────────────────────────────────────────────────────────

    def _everyday(self, until: int) -> None:
        album = [
            pictures.as_jpeg(pictures.render(self.rng, pictures.SMALL), int(self.rng.integers(60, 92)))
            for _ in range(self._number(0.02, 8))
        ]
        while len(self.made) < until:
            network = self._network()
            lot = self.rng.random()
            if lot < 0.045:
                media = self._media(self._pick(album), "image")
                truth = Truth(kind="innocent", way="a picture", must=False)
                self._post(self._line(self._pick(words.CAPTIONS)), truth, network=network, media=[media])
            elif lot < 0.055:
                media = self._media(self._pick(album), "image")
                truth = Truth(kind="innocent", way="a picture", must=False)
                self._put(
                    self._when(), network, "media.uploaded", truth, account=_name(self._who(network)), media=media
                )
            elif lot < 0.25:
                one, other = self._who(network), self._who(network)
                if one is not other:
                    self._put(self._when(), network, "follow.created", account=_name(one), followed=_name(other))
            elif lot < 0.28:
                changed = {**_name(self._who(network)), "bio": self._pick(words.BIOS)}
                self._put(self._when(), network, "account.updated", account=changed)
            elif lot < 0.31 and self.posts[network]:
                about = self._pick(self.posts[network])
                if about["truth"] is None and about["place"] < 0.95:
                    later = about["place"] + float(self.rng.uniform(0.001, 0.04))
                    post = {**about["post"], "text": about["post"]["text"] + " (edited)"}
                    self._put(later, network, "post.updated", account=_name(about["account"]), post=post)
            else:
                links = [self._pick(words.OPEN_LINKS)] if self.rng.random() < 0.08 else []
                self._post(self._line(self._pick(words.SAYINGS)), network=network, links=links)


def _name(account: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": account["id"], "handle": account["handle"], "display_name": account["display_name"]}
