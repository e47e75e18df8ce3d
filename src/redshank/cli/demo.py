"""`redshank demo`: see it do its job, on a made-up platform."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from redshank.core import Problem

if TYPE_CHECKING:
    from rich.console import Console

    from redshank.demo.play import Platform, Summary
    from redshank.demo.stage import Stage
    from redshank.demo.world import World

PEOPLE = (("moderator", "mo"), ("lead", "lea"), ("admin", "ada"))
VERBS = ("remove", "restrict", "suspend", "label", "restore")
URL_ABOVE = 40_000
"""Media of more bytes are told by URL, and fetched; the rest comes within the event."""


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another world.")
@click.option("--events", type=click.IntRange(400, 100_000), default=3000, show_default=True)
@click.option("--no-serve", is_flag=True, help="Exit after the summary.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="Empty folder to keep everything in; else a passing one."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the console; else a free one, 8090 if it is.")
@click.option(
    "--rough", is_flag=True, help="Kill server and worker (kill -9) while events are played, and start them again."
)
@click.option("--json-summary", type=click.Path(path_type=Path, dir_okay=False), help="Write the summary there, too.")
def command(
    seed: int,
    events: int,
    no_serve: bool,
    folder: Path | None,
    port: int | None,
    rough: bool,
    json_summary: Path | None,
) -> None:
    """Play a made-up platform's day through a fresh Redshank, and say what was planted, found, decided and done.

    Starts a server, a worker and three example platforms, all on this machine's loopback, with data of their own. All names,
    texts and pictures are harmless and made on the spot. Then the console is there to look around, until Ctrl-C.

    Exit code 1 where an event was lost, an action was not done or done twice, or something was missed that must be found.
    """
    from rich.console import Console

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=140)
    with _kept_in(folder) as place:
        _settings(place, port)
        summary = _run(
            place, console, seed=seed, events=events, no_serve=no_serve, rough=rough, json_summary=json_summary
        )
    if summary.faults:
        raise SystemExit(1)


@contextlib.contextmanager
def _kept_in(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        passing = Path(tempfile.mkdtemp(prefix="redshank-demo-"))
        try:
            yield passing
        finally:
            shutil.rmtree(passing, ignore_errors=True)
        return
    if folder.exists() and any(folder.iterdir()):
        raise Problem("this folder is not empty", where=str(folder), hint="Name another; the demo begins from nothing.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder.resolve()


def _settings(place: Path, port: int | None) -> None:
    """Settings of the demo's own: nothing that is set for a real installation may reach in here, nor the other way."""
    from redshank.demo.stage import free_ports, is_free
    from redshank.demo.world import NETWORKS

    for name in [name for name in os.environ if name.startswith("REDSHANK_")]:
        del os.environ[name]
    console, *platforms = free_ports(1 + len(NETWORKS))
    port = port or (8090 if is_free(8090) else console)
    private = ", ".join(f'"127.0.0.1:{number}"' for number in platforms)
    config = place / "redshank.toml"
    config.write_text(
        f'data_dir = "{place / "data"}"\nport = {port}\nlog_format = "json"\n\n[outbox]\ntimeout_seconds = 5\n\n'
        "[campaigns]\n# The week before, and today.\ndays = 9\n\n"
        f"[media]\n# The example platforms, from which pictures are fetched.\nfetch_private = [{private}]\n"
    )
    os.environ["REDSHANK_CONFIG"] = str(config)
    os.environ["DJANGO_SETTINGS_MODULE"] = "redshank.web.settings"


def _examples() -> Path:
    """The folder that holds `examples/platform`: the checkout that this package runs from, or the one we stand in."""
    import redshank

    for root in (Path(redshank.__file__).parents[2], Path.cwd()):
        if (root / "examples" / "platform" / "__main__.py").exists():
            return root
    raise Problem(
        "the example platform is not here: it is in the repository, not in the package",
        where="examples/platform",
        hint="Run `redshank demo` in a checkout.",
    )


def _run(
    place: Path, console: Console, *, seed: int, events: int, no_serve: bool, rough: bool, json_summary: Path | None
) -> Summary:
    examples = _examples()
    began = time.monotonic()
    console.print(f"[bold]Redshank demo[/], seed {seed}. All of it is made up and harmless. Data: {place}")
    import django

    django.setup()
    import msgspec
    from django.conf import settings
    from django.core.management import call_command
    from django.utils import timezone

    from redshank.demo import play, world
    from redshank.demo.stage import Stage
    from redshank.media import Hasher
    from redshank.people import services as people
    from redshank.people.models import User

    call_command("migrate", interactive=False, verbosity=0)
    with console.status("Painting pictures and making up a day …"):
        made = world.build(seed, events, now=timezone.now())
    with console.status("Filling the banks …"), Hasher(settings.REDSHANK.media) as hasher:
        entries = play.fill_banks(made, place / "known", hasher, now=timezone.now())
    play.remember(made, now=timezone.now())
    passwords = {name: people.add(name, role, now=timezone.now())[1] for role, name in PEOPLE}
    console.print(f"{len(made.happenings):,} events made up; {entries} entries in six banks.")
    home = f"http://127.0.0.1:{settings.REDSHANK.port}"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
    with Stage(place / "logs", environ) as stage:
        platforms = _start(stage, place, examples, home)
        player = play.Player(made, platforms, home)
        # The week before is looked at while today is played; what is found then grows at the end.
        search = [sys.executable, "-m", "redshank.cli", "campaigns", "run"]
        searching = stage.aside("campaigns", search)
        playing = time.monotonic()
        killed = _watch(stage, player, made, console, rough=rough)
        if rough:
            play.end_leases()
        stage.wait(play.all_asked, "new accounts were not asked about", patience=90)
        walked = time.monotonic()
        console.print("Everything is walked. A moderator takes the first cases …")
        moderator = User.objects.get(username="mo")
        suspension, decided = play.decide_some(made, moderator)
        console.print(f"{decided} decided. Actions go out, and confirmations come back …")
        if rough:
            play.wait_for_a_lease(seconds=2)
            stage.kill("worker")
            stage.start("worker")
            killed += 1
            console.print(
                "The worker was killed (kill -9) while it sent them; what it held goes out again in half a minute."
            )
        stage.wait(play.settled, "actions were not confirmed", patience=90)
        if suspension:
            console.print("One decision was wrong and is undone; the platform restores the account …")
            play.undo(suspension, moderator)
        with console.status("Waiting for the last confirmations …"):
            stage.wait(play.settled, "actions were not confirmed", patience=90)
            stage.wait(lambda: not play.untold(platforms.values()), "the platforms have more to tell", patience=60)
        with console.status("Looking for accounts that act together …"):
            searching.wait()
            stage.aside("campaigns", search).wait()
        summary = play.summarize(
            made, player, seed=seed, seconds_playing=player.seconds, seconds_walking=walked - playing, killed=killed
        )
        if json_summary:
            json_summary.write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
        _tell(console, summary, time.monotonic() - began)
        if not no_serve:
            _look_around(console, home, passwords, platforms, stage)
    return summary


def _start(stage: Stage, place: Path, examples: Path, home: str) -> dict[str, Platform]:
    """Connect each network, and start its platform, the server and the worker."""
    from django.conf import settings
    from django.utils import timezone

    from redshank.demo.play import Platform
    from redshank.demo.world import NETWORKS, REMOVES
    from redshank.enforcement import services as enforcement
    from redshank.intake.services import make_key

    redshank = [sys.executable, "-m", "redshank.cli"]
    stage.start("serve", [*redshank, "serve"])
    stage.start("worker", [*redshank, "worker"])
    platforms = {}
    for network, address in zip(NETWORKS, settings.REDSHANK.media.fetch_private, strict=True):
        verbs = VERBS if network in REMOVES else ("restrict", "label", "restore")
        now = timezone.now()
        connector = enforcement.connect(
            network, network.title(), f"http://{address}/redshank", verbs, by="system", now=now
        )
        key = make_key(network, network, by="system", now=now)
        store = place / f"{network}.sqlite3"
        stage.start(
            network,
            [
                sys.executable, "-m", "examples.platform", "--port", address.rpartition(":")[2], "--network", network,
                "--redshank", home, "--key", key, "--secret", enforcement.secret_of(connector), "--store", str(store),
                "--url-above", str(URL_ABOVE),
            ],
            cwd=examples,
        )  # fmt: skip
        platforms[network] = Platform(network=network, url=f"http://{address}", store=store, key=key)
    for platform in platforms.values():
        stage.wait_for(platform.network, f"{platform.url}/summary.json")
    stage.wait_for("serve", f"{home}/readyz")
    return platforms


def _watch(stage: Stage, player: Any, made: World, console: Console, *, rough: bool) -> int:
    """Play, and wait until every event has been taken in and walked; give how many processes were killed on the way."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from redshank.demo import play

    total = len(made.happenings)
    rough_at = [0.3, 0.6] if rough else []
    killed = 0
    with Progress(
        TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        sent = progress.add_task("events sent", total=total)
        kept = progress.add_task("events walked", total=total)
        player.start()
        idle = time.monotonic()
        before = (0, 0)
        while True:
            stage.check()
            arrived, waiting = play.arrived()
            progress.update(sent, completed=player.sent)
            progress.update(kept, completed=min(total, arrived - waiting))
            if rough_at and player.sent >= rough_at[0] * total:
                rough_at.pop(0)
                for name in ("serve", "worker"):
                    stage.kill(name)
                    killed += 1
                    stage.start(name)
                console.print("Server and worker were killed (kill -9) and started again.")
            if not player.playing and not waiting and not play.untold(player.platforms.values()):
                break
            if (player.sent, arrived - waiting) != before:
                before, idle = (player.sent, arrived - waiting), time.monotonic()
            # A killed worker's leases run for ten minutes; in a demo nobody waits for that.
            if rough and time.monotonic() - idle > 5:
                play.end_leases()
            if time.monotonic() - idle > 120:
                raise Problem("nothing moved for two minutes", where=str(stage.folder), hint="The logs are there.")
            time.sleep(0.1)
        progress.update(sent, completed=player.sent)
        progress.update(kept, completed=total)
    return killed


def _tell(console: Console, summary: Summary, seconds: float) -> None:
    from rich.table import Table

    def numbers(counts: dict[str, int]) -> str:
        return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items() if number) or "none"

    per_second = summary.events / max(summary.seconds_playing, 0.1)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", justify="right")
    facts.add_column()
    for name, text in (
        ("Events", f"{summary.events:,} from {summary.networks} networks; {summary.lost} lost, {summary.twice} taken twice"),
        ("Time", f"{summary.seconds_playing:.0f} s to send ({per_second:,.0f} a second), {summary.seconds_walking:.0f} s until all were walked"),
        ("Findings", numbers(summary.findings)),
        ("Cases", f"{summary.cases} to look at ({numbers(summary.cases_by_queue)}), with {summary.reports} reports"),
        ("Returning", f"{numbers(summary.ties)} ties of new accounts to suspended ones; {summary.wrongly_tied} of {summary.look_alikes} innocent look-alikes tied"),
        ("Decided", f"{numbers(summary.decisions)}; the other cases wait for you"),
        ("Actions", f"{numbers(summary.actions)}; the platforms did {numbers(summary.done_by_platforms)}; {summary.done_twice} done twice"),
        ("False alarms", f"{summary.false_alarms} of {summary.innocent_pictures} innocent pictures"),
        ("Naming a group", f"{summary.named_innocently} innocent posts (news, mourning, warnings) go to a person at the lowest priority; {summary.named_acted_on} were acted on"),
        ("Campaigns", "; ".join(summary.campaigns) or "none"),
        ("Audit log", f"{summary.audit_entries:,} entries: who or what, why, on what evidence"),
    ):  # fmt: skip
        facts.add_row(name, text)
    if summary.killed:
        facts.add_row(
            "Killed", f"{summary.killed} processes on the way; {summary.repeats} actions were sent again and done once"
        )
    console.print()
    console.print(facts)
    table = Table(title="\nWhat was planted, and what was found again", title_justify="left", box=None, pad_edge=False)
    for name, side in (
        ("planted as", "left"),
        ("in which way", "left"),
        ("planted", "right"),
        ("found", "right"),
        ("missed", "right"),
    ):
        table.add_column(name, justify=side)  # type: ignore[arg-type]  # rich spells its words as literals
    table.add_column("")
    for line in summary.planted:
        missed = line.planted - line.found
        note = "" if line.must or not missed else "a known limit"
        if line.must and missed:
            note = "[bold red]must be found[/]"
        table.add_row(line.kind, line.way, str(line.planted), str(line.found), str(missed), note)
    console.print(table)
    if summary.faults:
        console.print("\n[bold red]Not as it should be:[/]")
        for fault in summary.faults:
            console.print(f"  {fault}", markup=False)
    console.print(f"\nAll in {seconds:.0f} s.")


def _look_around(
    console: Console, home: str, passwords: dict[str, str], platforms: dict[str, Platform], stage: Stage
) -> None:
    console.print(f"\nThe console is at [bold]{home}/[/]. Sign in as one of these; the passwords are shown this once:")
    for role, name in PEOPLE:
        console.print(f"  {name:<4} {passwords[name]}   {role}", markup=False)
    there = ", ".join(f"{platform.network} {platform.url}/" for platform in platforms.values())
    console.print(f"The example platforms: {there}")
    console.print("Ctrl-C ends all of it.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stage.check()
            time.sleep(0.5)
    console.print("\nEnding.")
