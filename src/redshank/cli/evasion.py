"""`redshank evasion`: fit a model of returning accounts, and score accounts in files with it."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from redshank.cli._django import with_store

if TYPE_CHECKING:
    from redshank.evasion.model import Card

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
_SCORER = click.option(
    "--scorer", type=click.Choice(["additive", "gbt"]), default="additive", show_default=True,
    help="additive: bits of each piece of evidence. gbt: trees that weigh all of it together (needs redshank[gbt]).",
)  # fmt: skip
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Returning accounts: whose owner was suspended before?"""


@command.command()
@click.argument("train_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File for the model.")
@click.option(
    "--without", multiple=True, help="Leave a column out, such as device; give it once for each column to leave out."
)
@click.option("--date", help="Day of the data, for the card (default: today).")
@click.option(
    "--rate", type=_SHARE, default=0.02, show_default=True,
    help="Share of returned accounts among new ones for which the bands are cut.",
)  # fmt: skip
@_SCORER
def fit(train_dir: Path, out: Path, without: tuple[str, ...], date: str | None, rate: float, scorer: str) -> None:
    """Fit a model on TRAIN_DIR, which holds suspended.parquet (with the column owner), new.parquet and truth.csv."""
    from redshank.evasion.fitting import fit as fit_model
    from redshank.evasion.index import SuspensionIndex
    from redshank.evasion.model import save_model
    from redshank.evasion.tables import read_accounts, read_owners, read_scripts

    owners, truth = read_owners(train_dir)
    index = SuspensionIndex.build(read_accounts(train_dir / "suspended.parquet", without=without))
    new = read_accounts(train_dir / "new.parquet", without=without)
    day = date or datetime.now(UTC).date().isoformat()
    scripts = read_scripts(train_dir / "new.parquet")
    model = fit_model(
        index,
        new,
        owners,
        truth,
        data=train_dir.resolve().name,
        date=day,
        scorer=scorer,
        scripts=scripts,
        stated_rate=rate,
    )
    save_model(model, out)
    card = model.card
    click.echo(
        f"{out}: fitted on {card.new:,} new accounts ({card.returned:,} returned) against {card.suspended:,} suspended.\n"
        f"  likely from {model.likely:.4g}, possible from {model.possible:.4g}\n{_told(card)}"
    )


@command.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File for the model.")
@click.option("--rate", type=_SHARE, help="Share of returned accounts among new ones (default: the setting's).")
@_SCORER
@with_store
def learn(out: Path, rate: float | None, scorer: str) -> None:
    """Fit a model to what people decided here, where they knew it from elsewhere. Name it in the settings to use it."""
    from django.conf import settings

    from redshank.evasion import deciding
    from redshank.evasion.model import save_model

    now = datetime.now(UTC)
    stated = rate or settings.REDSHANK.evasion.return_rate
    model = deciding.learn(data="decisions of this installation", now=now, rate=stated, scorer=scorer)
    save_model(model, out)
    card = model.card
    click.echo(
        f"{out}: fitted on {card.returned:,} confirmed and {card.new - card.returned:,} rejected accounts against "
        f"{card.suspended:,} suspended.\n{_told(card)}\nTo use it: REDSHANK_EVASION_MODEL={out.resolve()}"
    )


def _told(card: Card) -> str:
    """What a card says of how good a model is, line by line."""

    def shares(some: dict[str, float]) -> str:
        return ", ".join(f"{name} {share:.2%}" for name, share in some.items()) or "none"

    return "\n".join(
        [
            *(f"  {name}: {value:.4g}" for name, value in card.metrics.items()),
            f"  returned accounts tied rightly: {shares(card.found)}; by script: {shares(card.found_by_script)}",
            f"  innocent ones tied: {shares(card.false_ties)}; by script: {shares(card.false_ties_by_script)}",
        ]
    )


@command.command()
@click.option("--suspended", required=True, type=_FILE, help="Suspended accounts, Parquet.")
@click.option("--new", required=True, type=_FILE, help="New accounts, Parquet.")
@click.option("--model", "model_path", type=_FILE, help="A model made by fit (default: the weights to start with).")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="CSV of ties.")
@click.option("--least", default=1e-4, show_default=True, help="Ties less probable than this are left out.")
@click.option("--rate", type=_SHARE, help="Share of returned accounts among the new (default: as fitted).")
@click.option("--without", multiple=True, help="Leave a column out, such as device.")
def score(
    suspended: Path, new: Path, model_path: Path | None, out: Path, least: float, rate: float | None, without: tuple[str, ...]
) -> None:  # fmt: skip
    """Tie each new account to suspended ones: account_id, match_account_id, probability, band and reasons, as CSV."""
    from redshank.evasion.fitting import default_model
    from redshank.evasion.index import SuspensionIndex
    from redshank.evasion.model import Scorer, load_model
    from redshank.evasion.tables import read_accounts

    scorer = Scorer(load_model(model_path) if model_path else default_model(), rate=rate)
    accounts = read_accounts(new, without=without)
    index = SuspensionIndex.build(read_accounts(suspended, without=without))
    tied = 0
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["account_id", "match_account_id", "probability", "band", "reasons"])
        for row in range(len(accounts)):
            ties = scorer.ties(index.search(accounts, row), least=least)
            tied += any(tie.band for tie in ties)
            for tie in ties:
                why = "; ".join(
                    f"{reason.kind} {reason.bits:+.1f}" for reason in tie.reasons if abs(reason.bits) >= 0.1
                )
                writer.writerow([int(accounts.accounts.ids[row]), tie.number, f"{tie.probability:.6f}", tie.band, why])
    click.echo(f"{tied:,} of {len(accounts):,} new accounts are tied to suspended ones, at least possibly: {out}")
