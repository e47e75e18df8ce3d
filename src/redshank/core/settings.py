"""Every setting of an installation: its type, its default and one sentence about it, in one place.

A setting comes from the environment (`REDSHANK_DATABASE`, `REDSHANK_MEDIA_MAX_PIXELS`), else from one TOML file
(`database = …`, `[media] max_pixels = …`), else from its default here. A wrong or unknown one stops the start, by name.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from redshank.core.errors import Problem


class MediaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How files of strangers are fetched, decoded and compared."""

    max_bytes: Annotated[int, Meta(ge=1024, description="Largest file that is fetched or decoded, in bytes.")] = (
        512 * 1024 * 1024
    )
    max_pixels: Annotated[int, Meta(ge=1, description="Largest picture or frame that is decoded, in pixels.")] = (
        100_000_000
    )
    max_video_seconds: Annotated[
        int, Meta(ge=1, description="Longest stretch of a video that is hashed, in seconds.")
    ] = 4 * 3600
    decode_seconds: Annotated[
        int, Meta(ge=1, description="Processor time that decoding one file may take, in seconds.")
    ] = 120
    decode_memory: Annotated[int, Meta(ge=1, description="Memory that decoding one file may take, in bytes.")] = (
        2 * 1024 * 1024 * 1024
    )
    fetch_seconds: Annotated[int, Meta(ge=1, description="Time that fetching one file may take, in seconds.")] = 60
    fetch_private: Annotated[
        tuple[str, ...],
        Meta(description="Private hosts, as host:port, from which media may be fetched all the same. Empty: none."),
    ] = ()
    pdq_limit: Annotated[
        int, Meta(ge=0, le=31, description="Hamming distance within which two PDQ hashes match, of 256 bits.")
    ] = 31
    pdq_quality: Annotated[
        int, Meta(ge=0, le=100, description="Pictures of a lower PDQ quality are kept and marked, but match nothing.")
    ] = 50
    part_frames: Annotated[
        int,
        Meta(ge=1, le=500, description="Frames of a video that are searched for parts, and kept of a known one."),
    ] = 30
    video_share: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of either video's seconds that must match before it is called a copy."),
    ] = 0.5
    plugins: Annotated[
        tuple[str, ...],
        Meta(
            description="Plug-ins of the threatexchange package, as modules: their signal types become kinds of banks."
        ),
    ] = ()


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken in at the door."""

    max_event_bytes: Annotated[
        int, Meta(ge=1024, description="Largest single event, in bytes; larger ones are rejected.")
    ] = 12 * 1024 * 1024
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest request body, in bytes.")] = 64 * 1024 * 1024
    keep_media_hours: Annotated[
        int, Meta(ge=1, description="Media that no case and no evidence needs are deleted after so long, in hours.")
    ] = 48
    batch: Annotated[int, Meta(ge=1, le=10_000, description="Events that are committed together.")] = 1000


class BankSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How known content is watched over."""

    quarantine_matches: Annotated[
        int,
        Meta(ge=0, description="An entry that matches more events than this in an hour is set apart. 0: never."),
    ] = 1000
    keep_hashes_days: Annotated[
        int, Meta(ge=1, description="Hashes of media are kept for so long, to find what becomes known later, in days.")
    ] = 30
    keep_points_days: Annotated[
        int,
        Meta(
            ge=0,
            description="Points of pictures and frames are kept for so long, to find parts of what becomes known later, in days. 0: not at all.",
        ),
    ] = 0
    max_import_bytes: Annotated[
        int, Meta(ge=1024, description="Largest file that the console imports, in bytes; the command line takes any.")
    ] = 1024**3


class HmaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The API of Hasher-Matcher-Actioner (HMA), for clients that were written for it."""

    enabled: Annotated[bool, Meta(description="HMA's routes are served under /hma.")] = False
    trusted: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks, such as 10.1.0.0/16, whose HMA clients need no API key. Proxied requests always do."
        ),
    ] = ()
    signal_types: Annotated[
        tuple[str, ...],
        Meta(description="Signal types that are offered: pdq, video_md5, vpdq, md5, sha1, sha256, sha512, url."),
    ] = ("pdq", "video_md5")
    policy: Annotated[str, Meta(description="Policy, by its slug, of the banks that HMA clients make.")] = (
        "terrorist-content"
    )
    severity: Annotated[int, Meta(ge=1, le=5, description="Severity of the banks that HMA clients make.")] = 3


class ExchangeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How lists of other organizations are fetched, and ours are given to them."""

    organization: Annotated[
        str, Meta(description="Who we are to those with whom we share. Empty: an installation without a name.")
    ] = ""
    private: Annotated[
        tuple[str, ...],
        Meta(
            description="Private hosts, as host:port, that exchanges may ask all the same, and without TLS. Empty: none."
        ),
    ] = ()
    request_seconds: Annotated[int, Meta(ge=1, description="Time that one request may take, in seconds.")] = 60
    download_seconds: Annotated[int, Meta(ge=1, description="Time that one list may take to come, in seconds.")] = 3600
    max_page_bytes: Annotated[int, Meta(ge=1024, description="Largest single answer of an API, in bytes.")] = (
        64 * 1024 * 1024
    )
    max_bytes: Annotated[int, Meta(ge=1024, description="Most that one run may fetch, in bytes.")] = 8 * 1024**3
    max_records: Annotated[int, Meta(ge=1, description="Most things that one run may bring.")] = 20_000_000
    hold_factor: Annotated[
        float, Meta(gt=0, description="A run that brings so many times the usual waits for a person.")
    ] = 10
    hold_floor: Annotated[
        int, Meta(ge=1, description="A run that brings no more things than this never waits for bringing many.")
    ] = 1000
    hold_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="A run that withdraws more than this share of what its source gave waits for a person.",
        ),
    ] = 0.5
    keep_days: Annotated[
        int, Meta(ge=1, description="Past runs, and what they set aside, are kept for so long, in days.")
    ] = 90
    give_up_hours: Annotated[
        float, Meta(gt=0, description="An answer to a source that it does not take for so long is given up, in hours.")
    ] = 72


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one rule may ask for on one network in an hour before a person must look. A rule's `at_most` goes before."""

    actions: Annotated[
        int, Meta(ge=0, description="Actions of one kind that a rule may take in an hour. 0: no limit.")
    ] = 200
    cases: Annotated[int, Meta(ge=0, description="Cases that a rule may open or feed in an hour. 0: no limit.")] = (
        10_000
    )
    labels: Annotated[int, Meta(ge=0, description="Labels that a rule may put in an hour. 0: no limit.")] = 20_000


class OutboxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How actions leave."""

    timeout_seconds: Annotated[
        float, Meta(gt=0, description="Time that a platform has to answer an action, in seconds.")
    ] = 10
    give_up_hours: Annotated[
        float, Meta(gt=0, description="An action that was not taken for so long becomes a dead letter, in hours.")
    ] = 72
    confirm_hours: Annotated[
        float,
        Meta(gt=0, description="A sent action that is not confirmed for so long is shown as overdue, in hours."),
    ] = 24


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the past is kept: events and verdicts in Parquet files, for search and backtest."""

    batch: Annotated[int, Meta(ge=1, le=500_000, description="Events that are written to the past together.")] = 20_000
    after_minutes: Annotated[
        int,
        Meta(ge=0, description="Events are written to the past after so long, or when a batch is full, in minutes."),
    ] = 60
    search_seconds: Annotated[
        float,
        Meta(
            gt=0, le=600, description="A search of the past stops after so long, in seconds, and says how far it came."
        ),
    ] = 20
    search_memory: Annotated[
        int,
        Meta(
            ge=64 * 1024 * 1024, description="Memory that one search may take, in bytes; beyond it, it uses the disk."
        ),
    ] = 1024 * 1024 * 1024
    searches: Annotated[
        int, Meta(ge=1, description="Searches that one process of `redshank serve` runs at a time.")
    ] = 2
    csv_rows: Annotated[int, Meta(ge=1, description="Lines of a search's results that can be downloaded at most.")] = (
        100_000
    )
    keep_store_days: Annotated[
        int,
        Meta(
            ge=0,
            description="Events that are in the past and that no case shows leave the store after so long, in days. 0: never.",
        ),
    ] = 180
    keep_account_days: Annotated[
        int, Meta(ge=1, description="The past keeps events of accounts for so long, in days.")
    ] = 365
    keep_post_days: Annotated[int, Meta(ge=1, description="How long the past keeps events of posts, in days.")] = 365
    keep_media_days: Annotated[
        int, Meta(ge=1, description="How long the past keeps events of media that stand by themselves, in days.")
    ] = 365
    keep_follow_days: Annotated[int, Meta(ge=1, description="How long the past keeps events of follows, in days.")] = (
        365
    )
    keep_report_days: Annotated[int, Meta(ge=1, description="How long the past keeps reports, in days.")] = 365
    keep_action_days: Annotated[
        int, Meta(ge=1, description="How long the past keeps a platform's news of actions, in days.")
    ] = 365


class CampaignSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How accounts that act together are sought."""

    window_minutes: Annotated[
        float, Meta(gt=0, le=1440, description="Two accounts meet that share the same within so long, in minutes.")
    ] = 30
    days: Annotated[int, Meta(ge=1, le=90, description="Days that are looked at together.")] = 7
    keep_days: Annotated[
        int, Meta(ge=2, description="What accounts shared is kept for so long, to compare it, in days.")
    ] = 30
    hot_accounts: Annotated[
        int, Meta(ge=3, description="What so many accounts share within the window is hot: it is looked into at once.")
    ] = 15
    hot_minutes: Annotated[
        float, Meta(gt=0, description="Between two looks at what is hot lies so much time at least, in minutes.")
    ] = 2
    every_hours: Annotated[
        float, Meta(gt=0, description="Campaigns are sought after so long even where nothing is hot, in hours.")
    ] = 6
    second_look_above: Annotated[
        int, Meta(ge=1, description="Acting on more members than this at once asks for a second person.")
    ] = 10


class EvasionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How returning accounts are sought."""

    young_days: Annotated[
        int,
        Meta(ge=1, description="An account is asked about until it is so old; what was gathered then goes, in days."),
    ] = 30
    model: Annotated[
        str, Meta(description="Model file, made by redshank evasion. Empty: the weights to start with.")
    ] = ""
    return_rate: Annotated[
        float, Meta(gt=0, lt=1, description="Share of new accounts that are returned ones, as you state it.")
    ] = 0.02
    likely_precision: Annotated[
        float, Meta(gt=0, lt=1, description="Share of likely ties that must be right, at that rate.")
    ] = 0.95
    possible_precision: Annotated[
        float, Meta(gt=0, lt=1, description="Share of possible ties that must be right, at that rate.")
    ] = 0.7
    token_days: Annotated[
        int, Meta(ge=1, description="A keyed token is forgotten so long after it was last told, in days.")
    ] = 90
    token_keys: Annotated[
        tuple[str, ...],
        Meta(description="Names of the keys whose tokens are compared; those of others are dropped. Empty: all."),
    ] = ()
    audit_share: Annotated[
        float, Meta(ge=0, le=1, description="Share of ties that are judged blind, with the score hidden.")
    ] = 0.05


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of an installation."""

    data_dir: Annotated[str, Meta(description="Folder for all that Redshank stores on this machine.")] = "redshank-data"
    database: Annotated[
        str, Meta(description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME. Empty: SQLite in data_dir.")
    ] = ""
    secret_key: Annotated[
        str,
        Meta(
            description="Signs sessions and derives webhook secrets, 32 characters or more. Empty: made once, kept in data_dir."
        ),
    ] = ""
    allowed_hosts: Annotated[tuple[str, ...], Meta(description="Host names under which the console is served.")] = (
        "localhost",
        "127.0.0.1",
        "[::1]",
    )
    https: Annotated[
        bool, Meta(description="The console is reached by HTTPS: cookies are marked so, HSTS is sent.")
    ] = False
    host: Annotated[str, Meta(description="Address that `redshank serve` listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port that `redshank serve` listens on.")] = 8090
    workers: Annotated[int, Meta(ge=1, description="Processes that `redshank serve` starts.")] = 1
    rules: Annotated[str, Meta(description="File or folder of rules. Empty: the rules that come with Redshank.")] = ""
    metrics_token: Annotated[
        str,
        Meta(
            description="Bearer token that /metrics asks for. Empty: it answers this machine alone, and no proxy's requests."
        ),
    ] = ""
    log_format: Annotated[str, Meta(pattern="^(json|text)$", description="json for machines, text for people.")] = (
        "text"
    )
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    ] = "info"
    media: MediaSettings = MediaSettings()
    ingest: IngestSettings = IngestSettings()
    banks: BankSettings = BankSettings()
    hma: HmaSettings = HmaSettings()
    exchanges: ExchangeSettings = ExchangeSettings()
    breakers: BreakerSettings = BreakerSettings()
    outbox: OutboxSettings = OutboxSettings()
    archive: ArchiveSettings = ArchiveSettings()
    campaigns: CampaignSettings = CampaignSettings()
    evasion: EvasionSettings = EvasionSettings()


def load_settings(toml: str, environ: Mapping[str, str], *, where: str = "settings") -> Settings:
    """The settings that `toml` (a file's text) and `environ` give, the environment winning.

    Raises `Problem` naming the setting, where it stood, and what it should be.
    """
    try:
        values: dict[str, Any] = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"not valid TOML: {error}", where=where) from None
    for path, type_, _, _ in documented_settings():
        name = environment_name(path)
        if name in environ:
            _put(values, path, _from_text(environ[name], type_))
    known = {environment_name(path) for path, *_ in documented_settings()} | {"REDSHANK_CONFIG"}
    for name in environ:
        if name.startswith("REDSHANK_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise Problem("no such setting", where=name, hint=f"Did you mean {near[0]}?" if near else "")
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise Problem(str(error).replace("`$.", "`").replace("`$`", "the top"), where=where) from None


def documented_settings() -> list[tuple[str, Any, Any, str]]:
    """Each setting as (path, type, default, sentence); a path is `port` or `media.max_pixels`."""
    return _documented(Settings, "")


def environment_name(path: str) -> str:
    """The environment variable of a setting: `REDSHANK_MEDIA_MAX_PIXELS` for `media.max_pixels`."""
    return "REDSHANK_" + path.upper().replace(".", "_")


def _documented(cls: type[msgspec.Struct], prefix: str) -> list[tuple[str, Any, Any, str]]:
    out: list[tuple[str, Any, Any, str]] = []
    hints = get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        type_ = hints[field.name]
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            out += _documented(type_, f"{prefix}{field.name}.")
            continue
        inner, meta = get_args(type_)[:2]
        out.append((prefix + field.name, inner, field.default, meta.description))
    return out


def _from_text(text: str, type_: Any) -> Any:
    if get_origin(type_) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if type_ is bool:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
    for kind in (int, float):
        if type_ is kind:
            try:
                return kind(text)
            except ValueError:
                return text
    return text


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[name] = value
