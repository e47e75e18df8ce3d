"""`redshank hash`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from redshank.cli._media import Reading, files_in, jobs_option, key_frames_option
from redshank.media import ImageHashes
from redshank.web.config import read_settings


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--variants", is_flag=True, help="Give the hashes of the file mirrored, turned, without its bars as well."
)
@key_frames_option
@jobs_option
def command(paths: tuple[Path, ...], variants: bool, key_frames: bool, jobs: int) -> None:
    """Print the hashes of pictures and videos, as JSON lines.

    PATH is a file or a folder. A picture gives one line: path, pdq, quality, sha256, md5, width, height. A video gives one
    line for each of its seconds: path, second, pdq, quality; with --key-frames also off, by how many seconds the frame
    lies from that second. With --variants a picture's line has the hashes
    it would have had before it was changed in the way each names (how, pdq, quality), and a video has such lines, with how
    in them. What a file is, its bytes say and not its name. No store is needed.

    Exit code 0 where every file was read, 3 where some could not be (each named on stderr, with the reason).
    """
    reading = Reading(read_settings().media, jobs=jobs, key_frames=key_frames)
    encode = msgspec.json.Encoder().encode
    furthest = 0.0
    for path, hashes in reading.hashes(files_in(paths), "hashing"):
        if isinstance(hashes, ImageHashes):
            fields = msgspec.structs.asdict(hashes)
            order = ("pdq", "quality", "sha256", "md5", "width", "height")
            more = {"variants": hashes.variants} if variants else {}
            click.echo(encode({"path": str(path)} | {name: fields[name] for name in order} | more))
            continue
        for frame in hashes.frames:
            line = {"path": str(path), "second": frame.second, "pdq": frame.pdq, "quality": frame.quality}
            click.echo(encode(line | ({"off": frame.off} if key_frames else {})))
            furthest = max(furthest, abs(frame.off))
        for variant in hashes.variants if variants else ():
            for frame in variant.frames:
                line = {"path": str(path), "how": variant.how, "second": frame.second, "pdq": frame.pdq}
                click.echo(encode(line | {"quality": frame.quality}))
    if key_frames:
        click.echo(f"The key frames lie up to {furthest:.1f} s from the seconds they stand for.", err=True)
    reading.finish()
