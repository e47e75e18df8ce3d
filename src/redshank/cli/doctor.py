"""`redshank doctor`."""

from __future__ import annotations

import click

from redshank.cli._django import with_store

_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_store
def command(as_json: bool) -> None:
    """Look whether this installation is as it should be, and say what to do where it is not.

    Exit code 0 where nothing failed (a warning is no failure), 1 where something did.
    """
    import msgspec

    from redshank.web import health

    counts = {"ok": 0, "warn": 0, "fail": 0}
    for check in health.run(health.ALL):
        counts[check.state] += 1
        if as_json:
            click.echo(msgspec.json.encode(check).decode())
            continue
        mark, color = _MARKS[check.state]
        click.echo(f"{click.style(f'{mark:<5}', fg=color)} {check.name:<11} {check.says}")
        if check.todo:
            click.echo(f"{'':<17} → {check.todo}")
    if not as_json:
        failed, warned = counts["fail"], counts["warn"]
        click.echo(f"\n{counts['ok']} ok, {warned} to look at, {failed} failed.")
    if counts["fail"]:
        raise SystemExit(1)
