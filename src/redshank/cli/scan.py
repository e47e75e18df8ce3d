"""`redshank scan`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from redshank.cli._media import Reading, files_in, jobs_option, key_frames_option
from redshank.web.config import read_settings


class _Scan(click.Command):
    """Lets `--known` take several paths, as a shell's `known/*` gives them, when it comes after the files."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(args: list[str]) -> list[str]:
    """`a b --known c d` as `a b --known c --known d`; a `--known` that comes first takes one path and no more."""
    out: list[str] = []
    files = False  # Whether a PATH was seen, so that what follows `--known` can only be known files.
    collecting = False
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            return [*out, arg, *rest]
        if arg == "--known":
            out += [arg, *([value] if (value := next(rest, None)) is not None else [])]
            collecting = files
        elif arg.startswith("-") and arg != "-":
            out.append(arg)
            collecting = False
            if arg in {"--limit", "--jobs"}:
                out += [value] if (value := next(rest, None)) is not None else []
        elif collecting:
            out += ["--known", arg]
        else:
            files = True
            out.append(arg)
    return out


@click.command(cls=_Scan)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--known", multiple=True, required=True, type=click.Path(path_type=Path), metavar="PATH...",
    help="Known files or folders: all that follow, or repeat the option.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(0, 255), help="Largest PDQ distance that is a match [media.pdq_limit: 31]."
)
@click.option(
    "--variants", is_flag=True, help="Find copies that were mirrored, turned, framed, captioned or cropped as well."
)
@click.option(
    "--parts",
    is_flag=True,
    help="Find what is seen only in part as well: crops, pictures in pictures, screenshots, in videos too.",
)
@key_frames_option
@jobs_option
def command(
    paths: tuple[Path, ...],
    known: tuple[Path, ...],
    limit: int | None,
    variants: bool,
    parts: bool,
    key_frames: bool,
    jobs: int,
) -> None:
    """Look for copies of known files among others, and print what is found as JSON lines.

    PATH is a file or a folder. Each file gives a line for every known file it is a copy of, with "found": true. A file that is
    a copy of none gives one line with "found": false and the nearest known file, or for a video each with which it
    shares any second at all.

    \b
    file, known   the two files
    kind          sha256 (same bytes), pdq (pictures), part (of a picture or frame), video, frame (a picture in a video)
    distance      of PDQ hashes, 0 to 256
    share         of the video's seconds that match; known_share of the known one's
    ranges        which seconds match which, in either video
    inliers       with --parts: points that agree; region and known_region are where they lie, as shares of either's sides
    how           with --variants: in which changed form it is found, as in "mirrored"

    A video is found where half of either one matches (setting media.video_share). No store is needed. Exit code 0 where every
    file was read, 3 where some could not be (each named on stderr, with the reason).
    """
    limits = read_settings().media
    if limit is not None:
        limits = msgspec.structs.replace(limits, pdq_limit=limit)
    reading = Reading(limits, jobs=jobs, key_frames=key_frames, points=parts)
    from redshank.media.scan import Known

    wanted = Known(
        [(str(path), hashes) for path, hashes in reading.hashes(files_in(known), "known")], limits, variants=variants
    )
    encode = msgspec.json.Encoder().encode
    found = files = 0
    for path, hashes in reading.hashes(files_in(paths), "scanning"):
        sightings = wanted.find(str(path), hashes)
        files += 1
        found += any(sighting.found for sighting in sightings)
        for sighting in sightings:
            click.echo(encode(sighting))
    click.echo(
        f"{files:,} files: {found:,} found, {files - found:,} not found"
        + (f", {reading.unreadable:,} unreadable." if reading.unreadable else "."),
        err=True,
    )
    reading.finish()
