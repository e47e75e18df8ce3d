"""The door of the rules: those in force, from files and from the console, and what people do with the latter.

A version of a rule is a text that never changes. It may run in the shadow on its author's word; it goes live only when a
second person approved exactly that text. Whatever changes is in the audit log, and a number that grows with each change
tells every process to load again.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from redshank.audit.services import Step, record
from redshank.core import BadInput, Problem
from redshank.people.models import User
from redshank.policies import services as policies
from redshank.rules.diagnostics import Diagnostic, RuleErrors
from redshank.rules.examples import Outcome, run_examples
from redshank.rules.loader import DEFAULT_RULES, Folder, Installation, Loaded, Written, list_files, rule_files
from redshank.rules.models import ConsoleRule, RuleRevision, RuleVersion
from redshank.rules.ruleset import Rule, RuleSet

log = structlog.get_logger(__name__)

CHECKED_EVERY = 1.0
"""Seconds after which a changed rule is noticed, in a file or in the console."""
MAX_TEXT = 64 * 1024
"""Characters of one rule that is written in the console."""
MAX_NOTE = 2_000
_ID = re.compile(r"""^\s*(?:-\s+)?id:\s*["']?([A-Za-z0-9][A-Za-z0-9_-]{0,63})["']?\s*(?:#.*)?$""", re.MULTILINE)

Mode = Literal["live", "shadow"]


class Changed(Problem):
    """Somebody else was here meanwhile. Nothing was changed."""


# ── In force ────────────────────────────────────────────────────────────────────────────────────────────────────────


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """What judges events now. `broken` says, by id, why a rule of the console is left out; `trouble`, why changed files are."""

    rules: RuleSet
    folder: Folder
    broken: Mapping[str, str]
    trouble: str = ""


class _Kept(msgspec.Struct, frozen=True):
    path: Path
    checked: float
    files: Any
    revision: int
    in_force: InForce


_lock = threading.Lock()
_kept: _Kept | None = None
_sound: dict[tuple[int, str], Loaded | str] = {}
"""What loading gave, or what is wrong, by version and mode; for the folder that is kept."""


def current_rules() -> RuleSet:
    """The rules in force. Raises `RuleErrors` where the files have errors and were never read before."""
    return in_force().rules


def in_force() -> InForce:
    """The rules in force, read again when a file or the console's number changed. Raises as `current_rules`.

    A broken file is logged and the files' old rules stay; a broken rule of the console is left out, and stops no other.
    """
    global _kept  # noqa: PLW0603 - one rule set a process
    path = rules_path()
    with _lock:
        if _kept and _kept.path != path:  # Only where settings change under a process, as in tests.
            _kept = None
        if _kept and time.monotonic() - _kept.checked < CHECKED_EVERY:
            return _kept.in_force
        checked, revision, files = time.monotonic(), _revision(), _stamp(path)
        if _kept and (_kept.files, _kept.revision) == (files, revision):
            _kept = msgspec.structs.replace(_kept, checked=checked)
            return _kept.in_force
        folder, trouble = (_kept.in_force.folder, _kept.in_force.trouble) if _kept else (None, "")
        if _kept is None or _kept.files != files:
            try:
                folder, trouble = _read(path), ""
                _sound.clear()
            except Exception as error:  # Whatever it is, what judged until now goes on.
                if folder is None:
                    raise
                trouble = str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
                log.warning("rules.broken", kept="the rules read before", problem=trouble)
        assert folder is not None
        good, broken = _from_console(folder)
        _kept = _Kept(
            path, checked, files, revision,
            InForce(rules=folder.merged(good), folder=folder, broken=broken, trouble=trouble),
        )  # fmt: skip
        return _kept.in_force


def _read(path: Path) -> Folder:
    """The folder, ready to judge. Raises `RuleErrors`."""
    read = Folder(path)
    if read.loaded.rules is None:
        raise RuleErrors(read.loaded.diagnostics)
    return read


def rules_path() -> Path:
    """The file or folder of rules in force."""
    return Path(settings.REDSHANK.rules) if settings.REDSHANK.rules else DEFAULT_RULES


def folder() -> Folder:
    """The files' rules: those in force, or the files as they are where they have errors and were never read before."""
    try:
        return in_force().folder
    except RuleErrors:
        return Folder(rules_path())


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    out = []
    for file in (*rule_files(path), *list_files(path)):
        with suppress(FileNotFoundError):  # It goes just now; the next look sees what came in its place.
            found = file.stat()
            out.append((str(file), found.st_mtime_ns, found.st_size))
    return out


def _revision() -> int:
    return RuleRevision.objects.filter(pk=1).values_list("number", flat=True).first() or 0


def _from_console(folder: Folder) -> tuple[list[Loaded], dict[str, str]]:
    good: list[Loaded] = []
    broken: dict[str, str] = {}
    rows = ConsoleRule.objects.filter(Q(live__isnull=False) | Q(shadow__isnull=False))
    for rule in rows.select_related("live", "shadow").order_by("rule_id"):
        for mode, version in (("live", rule.live), ("shadow", rule.shadow)):
            if version is None:
                continue
            key = (version.pk, mode)
            if key not in _sound:
                _sound[key] = _load(folder, rule.rule_id, version, "live" if mode == "live" else "shadow")
            found = _sound[key]
            if isinstance(found, Loaded):
                good.append(found)
            else:
                log.warning("rules.console_rule_broken", rule=rule.rule_id, version=version.number, problem=found)
                broken[rule.rule_id] = found
    return good, broken


def _load(folder: Folder, rule_id: str, version: RuleVersion, mode: Mode) -> Loaded | str:
    """The version, ready to judge; or what is wrong with it, whatever that is."""
    if mode == "live" and version.reviewed_sha256 != _sha256(version.text):
        return _("its text is not the one that was reviewed")
    try:
        loaded = folder.beside(Written(text=version.text, mode=mode, id=rule_id))
        if loaded.rules is None:
            return _first_error(loaded.diagnostics)
        loaded.rules.compile()
    except Exception as error:
        log.exception("rules.console_rule_failed", rule=rule_id, version=version.number)
        return f"{type(error).__name__}: {error}"
    return loaded


def _first_error(diagnostics: Iterable[Diagnostic]) -> str:
    first = next(found for found in diagnostics if found.severity == "error")
    return _("line %(line)s: %(message)s") % {"line": first.line, "message": first.message}


def _bump() -> None:
    """Say that what is in force changed. In the caller's transaction, which those wait for who change something, too."""
    step = secrets.randbelow(1 << 20) + 1
    if not RuleRevision.objects.filter(pk=1).update(number=F("number") + step):
        RuleRevision.objects.get_or_create(pk=1, defaults={"number": step})
        RuleRevision.objects.filter(pk=1).update(number=F("number") + 1)
    transaction.on_commit(_look_again)


def _look_again() -> None:
    global _kept  # noqa: PLW0603 - one rule set a process
    with _lock:
        if _kept:
            _kept = msgspec.structs.replace(_kept, checked=-CHECKED_EVERY)


# ── Checking ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of a rule's text: every error and warning, and how its own examples came out.

    `rule` is None where there are errors; `right` counts examples, `wrong` holds those that came out otherwise.
    """

    rule: Rule | None
    diagnostics: tuple[Diagnostic, ...]
    right: int = 0
    wrong: tuple[Outcome, ...] = ()

    @property
    def errors(self) -> int:
        """How many errors there are."""
        return sum(found.severity == "error" for found in self.diagnostics)

    @property
    def is_good(self) -> bool:
        """Whether it can be put into force: no errors, and no example that comes out wrong."""
        return self.rule is not None and not self.wrong


def check_text(text: str, *, rule_id: str = "", now: datetime, banks: Mapping[str, str] | None = None) -> Checked:
    """Check a rule as it would be put into force. `rule_id` is the console's rule that it is of; empty for a new one.

    Where `banks` has the kind of each bank that is switched on, others that it names are warned about.
    """
    text = tidy(text)
    taken = ConsoleRule.objects.exclude(rule_id=rule_id).values_list("rule_id", flat=True)
    installation = Installation(banks=banks, policies={policy.slug for policy in policies.active()})
    written = Written(text=text, mode="shadow", id=rule_id)
    loaded = folder().beside(written, taken=set(taken), now=now, installation=installation)
    if loaded.rules is None:
        return Checked(rule=None, diagnostics=loaded.diagnostics)
    right, wrong = run_examples(loaded.examples)
    return Checked(rule=loaded.rules.rules[0], diagnostics=loaded.diagnostics, right=right, wrong=tuple(wrong))


def tidy(text: str) -> str:
    """The text with the line ends of a file; a browser sends others."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    return text + "\n" if text else ""


def id_of(text: str) -> str:
    """The id that a rule's text names, even where the text has errors; empty where it names none."""
    found = _ID.search(text)
    return found[1] if found else ""


# ── Versions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def save(text: str, *, by: User, now: datetime, rule_id: str = "", base: int = 0, note: str = "") -> RuleVersion:
    """Save a text as the rule's next version; a draft, whatever is wrong with it. The same text again changes nothing.

    `rule_id` is the console's rule, or empty for a new one, whose id the text names. `base` is the number of the version
    that was changed: where somebody saved another one since, `Changed` is raised.
    Raises `BadInput` where it cannot be kept.
    """
    text, note = tidy(text), note.strip()
    if len(text) > MAX_TEXT:
        raise BadInput(_("a rule of more than %(most)d characters") % {"most": MAX_TEXT}, hint=_("Put long lists into files or banks."))  # fmt: skip
    if len(note) > MAX_NOTE:
        raise BadInput(_("a note of more than %(most)d characters") % {"most": MAX_NOTE})
    if "\x00" in text + note:
        raise BadInput(_("a character that no text has (U+0000)"))
    checked = check_text(text, rule_id=rule_id, now=now)
    try:
        with transaction.atomic():
            rule = _locked(rule_id) if rule_id else _make(text, now=now)
            latest = rule.versions.order_by("number").last()
            if latest is not None and latest.text == text:
                return latest
            if latest is not None and latest.number != base:
                raise Changed(
                    _("%(who)s saved version %(n)d while you were writing")
                    % {"who": latest.author.username, "n": latest.number}
                )
            version = RuleVersion.objects.create(
                rule=rule,
                number=latest.number + 1 if latest else 1,
                text=text,
                note=note,
                fingerprint=checked.rule.version if checked.rule else "",
                author=by,
                made_at=now,
            )
            _record("rule.saved", version, by=by, reason=note, now=now)
    except IntegrityError:
        raise Changed(_("somebody else began a rule of this id just now")) from None
    return version


def _make(text: str, *, now: datetime) -> ConsoleRule:
    rule_id = id_of(text)
    if not rule_id:
        raise BadInput(_("the rule has no id yet, so it cannot be kept"), hint=_("Write one, such as `- id: calls-to-the-march`."))  # fmt: skip
    if ConsoleRule.objects.filter(rule_id=rule_id).exists():
        raise BadInput(_("there is a rule %(id)s in the console already") % {"id": rule_id}, hint=_("Take another id, or change that one on its page."))  # fmt: skip
    if rule_id in ids_of_files():
        raise BadInput(_("there is a rule %(id)s in the files already") % {"id": rule_id}, hint=_("Take another id: one rule cannot stand in two places."))  # fmt: skip
    return ConsoleRule.objects.create(rule_id=rule_id, made_at=now)


def ids_of_files() -> set[str]:
    """The ids of the rules that stand in files."""
    return {found.rule.id for found in folder().loaded.examples}


def ask_review(version: RuleVersion, *, by: User, now: datetime, note: str = "") -> None:
    """Ask a second person to look at exactly this text. Raises `BadInput` where it is not fit to be looked at, `Changed`."""
    with transaction.atomic():
        version = _again(version)
        _must_be(version, RuleVersion.State.DRAFT, RuleVersion.State.RETURNED)
        _must_be_good(version, now=now)
        version.rule.versions.filter(state=RuleVersion.State.REVIEW).update(state=RuleVersion.State.DRAFT)
        _update(version, state=RuleVersion.State.REVIEW, asked_at=now)
        _record("rule.review_asked", version, by=by, reason=note.strip(), now=now)


def withdraw(version: RuleVersion, *, by: User, now: datetime, note: str = "") -> None:
    """Take the question back: the version is a draft again. Raises `Changed`."""
    with transaction.atomic():
        version = _again(version)
        _must_be(version, RuleVersion.State.REVIEW)
        _update(version, state=RuleVersion.State.DRAFT)
        _record("rule.review_withdrawn", version, by=by, reason=note.strip(), now=now)


def approve(version: RuleVersion, *, by: User, now: datetime, note: str = "") -> None:
    """A second person says that this text may go live. Raises `BadInput` for its author, `Changed`."""
    with transaction.atomic():
        version = _again(version)
        _must_be(version, RuleVersion.State.REVIEW)
        if version.author_id == by.pk:
            raise BadInput(_("nobody approves a text of their own"), hint=_("Ask a colleague."))
        _must_be_good(version, now=now)
        _update(
            version, state=RuleVersion.State.APPROVED, reviewer=by, reviewed_at=now, review_note=note.strip(),
            reviewed_sha256=_sha256(version.text),
        )  # fmt: skip
        _record("rule.approved", version, by=by, reason=note.strip(), now=now)


def give_back(version: RuleVersion, *, by: User, now: datetime, note: str) -> None:
    """A second person wants something changed, and says what. Raises `BadInput` for its author or no word, `Changed`."""
    with transaction.atomic():
        version = _again(version)
        _must_be(version, RuleVersion.State.REVIEW)
        if version.author_id == by.pk:
            raise BadInput(_("nobody reviews a text of their own"), hint=_("Withdraw it, and save another."))
        if not note.strip():
            raise BadInput(_("say what should be changed"))
        _update(
            version, state=RuleVersion.State.RETURNED, reviewer=by, reviewed_at=now, review_note=note.strip()
        )  # fmt: skip
        _record("rule.returned", version, by=by, reason=note.strip(), now=now)


# ── In force, and out of it ─────────────────────────────────────────────────────────────────────────────────────────


def put_in_force(
    version: RuleVersion, mode: Mode, *, by: User, now: datetime, seen: str = "", note: str = ""
) -> Literal["shadow", "live", "back"]:
    """Let a version judge: in the shadow, or live where a second person approved exactly this text. Gives what that was.

    `back` is a version that was live before: it was reviewed then. `seen` is what the page showed as in force
    (`stands`): where that changed meanwhile, `Changed` is raised. Raises `BadInput` where it may not, or cannot.
    """
    with transaction.atomic():
        version = _again(version)
        rule = version.rule
        _must_stand(rule, seen)
        if rule.retired_at is not None:
            raise BadInput(_("the rule is retired"), hint=_("Bring it back first."))
        if mode == "live" and version.reviewed_sha256 != _sha256(version.text):
            raise BadInput(
                _("no second person has approved this text"), where=str(version), hint=_("Send it to review.")
            )
        _must_be_good(version, now=now)
        was = _stands(rule)
        if mode == "live":
            done: Literal["shadow", "live", "back"] = "back" if version.live_at else "live"
            rule.live = version
            if rule.shadow_id == version.pk:
                rule.shadow = None
            if version.live_at is None:
                _update(version, live_at=now)
        else:
            done = "shadow"
            rule.shadow = version
            if rule.live_id == version.pk:
                rule.live = None
        _stand(rule)
        step = {"shadow": "rule.shadowed", "live": "rule.set_live", "back": "rule.rolled_back"}[done]
        _record(step, version, by=by, reason=note.strip(), now=now, was=was)
    return done


def stop(rule_id: str, mode: Mode, *, by: User, now: datetime, seen: str = "", note: str = "") -> None:
    """Take what is in force in a mode out of it, at once. Where nothing is, nothing changes. Raises `Changed`."""
    with transaction.atomic():
        rule = _locked(rule_id)
        _must_stand(rule, seen)
        version = rule.live if mode == "live" else rule.shadow
        if version is None:
            return
        was = _stands(rule)
        setattr(rule, mode, None)
        _stand(rule)
        _record("rule.stopped", version, by=by, reason=note.strip(), now=now, was=was, mode=mode)


def retire(rule_id: str, *, by: User, now: datetime, note: str = "") -> None:
    """Take a rule out of force and out of the way; all its versions stay. Raises `BadInput` where there is none."""
    with transaction.atomic():
        rule = _locked(rule_id)
        if rule.retired_at is not None:
            return
        was = _stands(rule)
        rule.live = rule.shadow = None
        rule.retired_at = now
        _stand(rule)
        rule.versions.filter(state=RuleVersion.State.REVIEW).update(state=RuleVersion.State.DRAFT)
        _record("rule.retired", _latest(rule), by=by, reason=note.strip(), now=now, was=was)


def revive(rule_id: str, *, by: User, now: datetime) -> None:
    """Bring a retired rule back; nothing of it is in force by that."""
    with transaction.atomic():
        rule = _locked(rule_id)
        if rule.retired_at is None:
            return
        rule.retired_at = None
        _stand(rule)
        _record("rule.revived", _latest(rule), by=by, reason="", now=now)


def stands(rule: ConsoleRule) -> str:
    """What of a rule is in force, as a page sends it back with its buttons."""
    return f"{rule.live_id or 0}-{rule.shadow_id or 0}"


def _locked(rule_id: str) -> ConsoleRule:
    rule = ConsoleRule.objects.select_for_update().filter(rule_id=rule_id).first()
    if rule is None:
        raise BadInput(_("there is no such rule in the console"), where=rule_id[:64])
    return rule


def _again(version: RuleVersion) -> RuleVersion:
    """The version as it is now, its rule locked."""
    rule = ConsoleRule.objects.select_for_update().get(pk=version.rule_id)
    found = RuleVersion.objects.select_related("author").get(pk=version.pk)
    found.rule = rule
    return found


def _latest(rule: ConsoleRule) -> RuleVersion:
    return rule.versions.order_by("number").last() or RuleVersion(rule=rule, number=0)


def _must_be(version: RuleVersion, *states: str) -> None:
    if version.state not in states:
        raise Changed(_("version %(n)d is not waiting for this any more") % {"n": version.number})


def _must_stand(rule: ConsoleRule, seen: str) -> None:
    if seen and seen != stands(rule):
        raise Changed(_("somebody changed what is in force while you were looking"))


def _must_be_good(version: RuleVersion, *, now: datetime) -> None:
    checked = check_text(version.text, rule_id=version.rule.rule_id, now=now)
    if checked.rule is None:
        raise BadInput(_("the text has an error"), where=str(version), hint=_first_error(checked.diagnostics))
    if checked.wrong:
        raise BadInput(
            _("an example of its own comes out wrong"), where=str(version),
            hint=_("See line %(line)d.") % {"line": checked.wrong[0].line},
        )  # fmt: skip


def _update(version: RuleVersion, **values: Any) -> None:
    for name, value in values.items():
        setattr(version, name, value)
    version.save(update_fields=list(values))


def _stand(rule: ConsoleRule) -> None:
    rule.save(update_fields=["live", "shadow", "retired_at"])
    _bump()


def _stands(rule: ConsoleRule) -> dict[str, int | None]:
    return {"live": rule.live.number if rule.live else None, "shadow": rule.shadow.number if rule.shadow else None}


def _record(step: str, version: RuleVersion, *, by: User, reason: str, now: datetime, **body: Any) -> None:
    body |= {"version": version.number, "fingerprint": version.fingerprint, "text_sha256": _sha256(version.text)}
    said = Step(actor=f"user:{by.username}", step=step, object=f"rule:{version.rule.rule_id}", reason=reason, body=body)
    record([said], now=now)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
