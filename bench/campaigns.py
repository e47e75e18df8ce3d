"""Campaigns: which planted groups are found, how many ties are right, how fast and in how much memory; on one core.

    python -m bench.campaigns [--quick] [--seed N] [--more-seeds N ...] [--folder DIR]

The workload is the shared generator's: a million shares of links over a week, 45 tight, 20 loose groups, 30 fan clubs and 15
feeds; window 30 minutes. Each stream is searched in a process of its own, whose processor time and peak memory are taken; the
kernels are compiled before. truth_groups.csv is read after that, to count. A group is found where one campaign has at least
half of its members in common with it, of all in either (a Jaccard index of .5). A tie is right where both accounts are of one
tight or loose group; ties of feeds and fan clubs, labelled innocent or not, count as wrong, so that `campaigns_precision` is
what is left when nobody believes the labels. Then the real sets, each beside controls with shuffled times. Last the same stream
as an installation has it, day by day: what each day costs to keep and to search, and which groups are campaigns at the end.
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  # sets the threads before numpy is imported

import csv
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from redshank.campaigns import Found, Search, Shares, find_campaigns, read_shares, shares_of, shuffled

SHARED = Path(__file__).resolve().parents[2] / "shared"
GENERATOR = SHARED / "bench" / "linking" / "make_campaigns.py"
REAL = SHARED / "data" / "linking"
PLANTED = ("tight", "loose")


def stream(folder: Path, posts: int, seed: int) -> Path:
    """The workload of that size, made now unless it is there."""
    made = folder / f"campaigns-{posts}-{seed}"
    if not (made / "truth_groups.csv").exists():
        part = folder / f"{made.name}.part"
        command = [sys.executable, str(GENERATOR), str(part), str(posts), str(seed)]
        places = dict(os.environ)
        if importlib.util.find_spec("pandas") is None:  # It writes two files with it, no more.
            places |= {"PYTHONPATH": str(Path(__file__).parent / "_stand_ins"), "PYTHONWARNINGS": "ignore"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=places)
        part.rename(made)
    return made


def search(folder: Path) -> None:
    """What the child does: search, then write ties and campaigns, and last what it took."""
    began = time.process_time(), time.perf_counter()
    shares = read_shares(folder / "posts.parquet")
    found = find_campaigns(shares)
    spent = {
        "processor": time.process_time() - began[0],
        "clock": time.perf_counter() - began[1],
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "narrowed": found.ties.narrowed,
    }
    ties = zip(found.ties.first.tolist(), found.ties.second.tolist(), strict=True)
    told = {
        "spent": spent,
        "ties": [(shares.name_of(a), shares.name_of(b)) for a, b in ties],
        "campaigns": [(c.label, [member.account for member in c.members]) for c in found.campaigns],
    }
    (folder / "found.json").write_text(json.dumps(told))


class Outcome:
    """What the child found in `folder`, beside the truth."""

    def __init__(self, folder: Path, how: str = "--search") -> None:
        subprocess.run([sys.executable, "-m", "bench.campaigns", how, str(folder)], check=True)
        told = json.loads((folder / "found.json").read_text())
        self.spent = told["spent"]
        group: dict[str, int] = {}
        kind: dict[int, str] = {}
        with (folder / "truth_groups.csv").open() as file:
            for row in csv.DictReader(file):
                group[row["account"]] = int(row["group"])
                kind[int(row["group"])] = row["kind"]
        sizes = Counter(group.values())
        best: dict[int, float] = dict.fromkeys(kind, 0.0)
        label: dict[int, str] = {}
        self.label_of_account: dict[str, str] = {}
        for named, members in told["campaigns"]:
            self.label_of_account.update(dict.fromkeys(members, named))
            for number, common in Counter(group[one] for one in members if one in group).items():
                alike = common / (sizes[number] + len(members) - common)
                if alike > best[number]:
                    best[number], label[number] = alike, named
        self.groups = Counter(kind.values())
        self.found = Counter(kind[number] for number, alike in best.items() if alike >= 0.5)
        self.worst = {k: min(alike for number, alike in best.items() if kind[number] == k) for k in self.groups}
        self.labels = Counter((kind[n], named) for n, named in label.items() if best[n] >= 0.5)
        self.ties = Counter(
            kind[group[a]] if a in group and group[a] == group.get(b) else "nobody's" for a, b in told["ties"]
        )
        right = sum(self.ties[k] for k in PLANTED)
        self.precision = right / max(1, len(told["ties"]))
        suspect = [(a, b) for a, b in told["ties"] if self.label_of_account[a] == "coordinated"]
        good = sum(a in group and group[a] == group.get(b) and kind[group[a]] in PLANTED for a, b in suspect)
        self.labelled_precision = good / max(1, len(suspect))
        self.planted_pairs = sum(sizes[n] * (sizes[n] - 1) // 2 for n in kind if kind[n] in PLANTED)
        self.recall = right / self.planted_pairs

    def groups_found(self) -> str:
        return ", ".join(
            f"{k} {self.found[k]} of {n} (worst Jaccard {self.worst[k]:.2f})" for k, n in self.groups.items()
        )

    def show(self, name: str) -> None:
        found = self.groups_found()
        spent = self.spent
        print(
            f"{name}: {spent['processor']:.1f} s of processor time ({spent['clock']:.1f} s by the clock), {spent['gb']:.2f} GB"
        )
        print(f"  groups: {found}")
        print(f"  labels of those found: {', '.join(f'{k} {v}: {n}' for (k, v), n in sorted(self.labels.items()))}")
        print(
            f"  ties: {dict(self.ties)}; precision {self.precision:.3f}, without those labelled innocent "
            f"{self.labelled_precision:.3f}; recall of planted pairs {self.recall:.3f}",
            flush=True,
        )


def days(folder: Path) -> None:
    """What another child does: the stream day by day through the store of an installation, searched after each day."""
    home = tempfile.mkdtemp(prefix="redshank-bench-campaigns-")
    os.environ |= {
        "REDSHANK_DATA_DIR": home,
        "DJANGO_SETTINGS_MODULE": "redshank.web.settings",
        "REDSHANK_LOG_LEVEL": "error",
    }
    import django

    django.setup()
    from django.core.management import call_command

    from redshank.campaigns import kept, runs
    from redshank.campaigns.models import Campaign, Member, ShareBlock

    call_command("migrate", interactive=False, verbosity=0)
    start = datetime(2026, 7, 6, tzinfo=UTC)
    rows = pq.read_table(folder / "posts.parquet").to_pydict()
    order = sorted(range(len(rows["ts"])), key=rows["ts"].__getitem__)
    last = int(rows["ts"][order[-1]] // 86_400)
    began, at = time.process_time(), 0
    for day in range(last + 1):
        shared = []
        while at < len(order) and rows["ts"][order[at]] < 86_400 * (day + 1):
            row = order[at]
            shared.append(
                kept.Shared(
                    str(rows["network"][row]), str(rows["account"][row]), str(rows["post_id"][row]),
                    start.timestamp() + rows["ts"][row], links=(f"https://a.example/{rows['url'][row]}",),
                )
            )  # fmt: skip
            at += 1
        now = start + timedelta(days=day + 1, hours=1)
        blocks = [kept.pack(shared[first : first + runs.BLOCK]) for first in range(0, len(shared), runs.BLOCK)]
        ShareBlock.objects.bulk_create(ShareBlock(received_at=now, body=body) for body in blocks)
        spent = time.process_time()
        while runs.seal(now=now + timedelta(hours=1)):
            pass
        sealed = time.process_time()
        run = runs.run(runs.Due("day", (start + timedelta(days=day)).date()), now=now)
        print(
            f"  day {day + 1}: {len(shared):,} posts, {sum(map(len, blocks)) / max(1, len(shared)):.0f} bytes each packed; "
            f"filed in {sealed - spent:.1f} s, searched {run.shares:,} shares in {time.process_time() - sealed:.1f} s; "
            f"{Campaign.objects.count()} campaigns, {Member.objects.count():,} members",
            flush=True,
        )
    size = sum(path.stat().st_size for path in Path(home, "shares").rglob("*.parquet"))
    print(f"  {at:,} posts in {size / 1e6:.0f} MB of files; {time.process_time() - began:.0f} s in all")
    told = [(one.label, list(one.members.values_list("account_id", flat=True))) for one in Campaign.objects.all()]
    spent_all = {
        "processor": 0.0,
        "clock": 0.0,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "narrowed": 0,
    }
    (folder / "found.json").write_text(json.dumps({"spent": spent_all, "ties": [], "campaigns": told}))
    shutil.rmtree(home, ignore_errors=True)


def real_sets() -> dict[str, Shares]:
    """The real sets: shares in one week of an election on two networks, and retweets."""
    table = pq.read_table(REAL / "coortweet_german.parquet")
    german = shares_of(
        {
            "account": table["account_id"], "network": pc.utf8_slice_codeunits(table["account_id"], 0, 2),
            "time": table["timestamp"], "post": table["post_id"], "source": table["domain_id"],
            "link": table["url_id"], "media": table["phash_id"], "object": table["hashtag_id"],
        }
    )  # fmt: skip
    return {"German, two networks": german, "Russian": read_shares(REAL / "coortweet_russian.parquet")}


def describe(found: Found) -> str:
    sizes = [len(campaign.members) for campaign in found.campaigns]
    labels = Counter(campaign.label for campaign in found.campaigns)
    both = sum(len(campaign.networks) > 1 for campaign in found.campaigns)
    moves = sum(len(campaign.moves) > 0 for campaign in found.campaigns)
    return (
        f"{len(found.ties.first):,} ties, {len(sizes)} campaigns of {sum(sizes)} accounts (largest {sizes[:5]}), "
        f"{dict(labels)}, {both} on two networks, {moves} with a move"
    )


def main() -> None:
    """Run it and print the BAR lines."""
    made = parser(__doc__)
    made.set_defaults(seed=4)
    made.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "redshank-bench-linking")
    made.add_argument("--more-seeds", type=int, nargs="*", default=None, help="other streams, measured as well")
    made.add_argument("--search", type=Path, help="what the child process does")
    made.add_argument("--days", type=Path, help="what the other child process does")
    args = made.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if args.search or args.days:
        search(args.search) if args.search else days(args.days)
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    print(f"machine: {machine()}")
    posts = 200_000 if args.quick else 1_000_000
    small = stream(args.folder, 20_000, args.seed)
    Outcome(small)  # compiles the kernels
    folder = stream(args.folder, posts, args.seed)
    outcome = Outcome(folder)
    outcome.show(f"{posts:,} shares and the planted ones, seed {args.seed}")
    for seed in (() if args.quick else (5, 6, 7)) if args.more_seeds is None else args.more_seeds:
        Outcome(stream(args.folder, posts, seed)).show(f"{posts:,} shares and the planted ones, seed {seed}")
    control = shuffled(read_shares(folder / "posts.parquet"), args.seed)
    print(f"  control, times shuffled: {describe(find_campaigns(control))}")
    if REAL.exists():
        for name, shares in real_sets().items():
            print(f"{name}: {len(shares.account):,} shares by {len(shares.names):,} accounts")
            for window, affinity in ((60.0, 16.0), (1800.0, 16.0), (1800.0, 1.0)):
                asked = Search(window=window, affinity=affinity)
                start = time.process_time()
                found = find_campaigns(shares, asked)
                spent = time.process_time() - start
                print(f"  within {window:.0f} s, affinity {affinity:.0f}: {describe(found)}, {spent:.1f} s")
                for campaign in found.campaigns[:2]:
                    tops = ", ".join(
                        f"{o.kind} shared by {o.members} and {o.others} others" for o in campaign.objects[:3]
                    )
                    print(f"    {len(campaign.members)} members, {campaign.object_count} objects; most shared: {tops}")
                for seed in (1, 2, 3):
                    control = find_campaigns(shuffled(shares, seed), asked)
                    print(
                        f"    control {seed}, times shuffled: {len(control.ties.first)} ties, {len(control.campaigns)} campaigns"
                    )
    else:
        print("the real sets are not there (../shared/data/linking): left out")
    print(f"day by day through the store of an installation, {posts:,} shares and the planted ones")
    kept = Outcome(folder, "--days")
    print(f"  groups that are campaigns at the end: {kept.groups_found()}; {kept.spent['gb']:.2f} GB")
    print()
    bar("campaigns_tight", outcome.found["tight"])
    bar("campaigns_loose", outcome.found["loose"])
    bar("campaigns_precision", outcome.precision)
    bar("campaigns_s", outcome.spent["processor"])
    bar("campaigns_gb", outcome.spent["gb"])


if __name__ == "__main__":
    main()
