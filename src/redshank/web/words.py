"""The words for what the store names in one word: one table each, so that a page never shows a raw name."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Words = Mapping[str, str | Promise]

SOURCES: Words = {
    "rule": _("Rule"),
    "user": _("User report"),
    "trusted_flagger": _("Trusted flagger"),
    "third_party": _("Third party"),
    "authority": _("Authority"),
    "person": _("Colleague"),
}
STATES: Words = {
    "requested": _("requested"),
    "sent": _("sent"),
    "confirmed": _("confirmed"),
    "failed": _("failed"),
    "canceled": _("canceled"),
    "pending": _("waiting to be sent"),
    "delivered": _("delivered"),
    "dead": _("dead letter"),
    "waiting": _("waiting"),
    "walked": _("walked"),
    "active": _("active"),
    "restricted": _("restricted"),
    "suspended": _("suspended"),
    "deleted": _("deleted"),
    "live": _("live"),
    "shadow": _("shadow"),
    "off": _("off"),
    "open": _("open"),
    "decided": _("decided"),
    "withdrawn": _("withdrawn"),
    "paused": _("paused"),
    "receiving": _("receiving"),
    "quarantined": _("in quarantine"),
    "harmless": _("known as harmless"),
    "disputed": _("disputed"),
    "unconfirmed": _("not yet confirmed here"),
    "expired": _("expired"),
    "weak": _("weak: never alone"),
    "agrees": _("agrees"),
    "disagrees": _("disagrees"),
    "seen": _("saw it, too"),
}
VERBS: Words = {
    "remove": _("Remove"),
    "restrict": _("Restrict"),
    "suspend": _("Suspend"),
    "label": _("Label"),
    "restore": _("Restore"),
}
VERB_KEYS = {"remove": "r", "restrict": "t", "suspend": "s", "label": "l", "restore": "o"}
"""The letter after `a`; on the subject's owner the same letter is a capital."""
SUBJECTS: Words = {"account": _("account"), "post": _("post"), "media": _("media")}
DETECTED: Words = {
    "pdq": _("picture"),
    "video": _("video"),
    "md5": _("file (MD5)"),
    "sha1": _("file (SHA-1)"),
    "sha256": _("file (SHA-256)"),
    "sha512": _("file (SHA-512)"),
    "url": _("link"),
    "domain": _("domain"),
    "term": _("words"),
    "name": _("name"),
}
EVENTS: Words = {
    "account.created": _("Account created"),
    "account.updated": _("Profile changed"),
    "account.suspended": _("Account suspended"),
    "account.restored": _("Account restored"),
    "account.deleted": _("Account deleted"),
    "post.created": _("Posted"),
    "post.updated": _("Post changed"),
    "post.deleted": _("Post deleted"),
    "media.uploaded": _("Media uploaded"),
    "follow.created": _("Followed"),
    "follow.deleted": _("Unfollowed"),
    "report.received": _("Report received"),
    "action.updated": _("Platform answered"),
}
OUTCOMES: Words = {
    "act": _("acted"),
    "no_violation": _("no violation"),
    "escalate": _("escalated"),
    "undo": _("undone"),
}
STEPS: Words = {
    "report": _("reported"),
    "comment": _("said"),
    "case.handed_over": _("handed over"),
    "account.labeled": _("label put on the account"),
    "account.updated": _("account updated"),
    "action.dead": _("action could not be delivered"),
    "action.resent": _("action sent again"),
    "action.contradicted": _("platform contradicted itself"),
    "key.made": _("API key made"),
    "key.revoked": _("API key revoked"),
    "connector.made": _("connected"),
    "connector.changed": _("connection changed"),
    "connector.paused": _("sending paused"),
    "connector.resumed": _("sending resumed"),
    "connector.secret_rotated": _("webhook secret changed"),
    "user.made": _("account for a colleague made"),
    "user.role_changed": _("role changed"),
    "user.deactivated": _("switched off"),
    "user.activated": _("switched on"),
    "user.password_reset": _("new password given"),
    "event.retried": _("event tried again"),
    "event.looked_back": _("found in the past"),
    "events.accepted": _("events accepted"),
    "bank.created": _("bank made"),
    "bank.changed": _("bank changed"),
    "entry.added": _("entries added to a bank"),
    "entry.withdrawn": _("entries withdrawn from a bank"),
    "entry.disputed": _("entry disputed"),
    "entry.confirmed": _("entry confirmed"),
    "entry.confirmation_undone": _("confirmation of an entry undone"),
    "entry.dispute_settled": _("dispute about an entry settled"),
    "entry.noted": _("note on an entry written"),
    "entry.opinion": _("a source's opinion kept"),
    "entry.quarantined": _("entry put in quarantine"),
    "entry.released": _("entry let out of quarantine"),
    "verdict": _("rules evaluated"),
    "evidence.preserved": _("evidence preserved"),
    "label.added": _("label put on"),
    "case.opened": _("case opened"),
    "case.fed": _("more came in"),
    "case.taken": _("taken"),
    "case.released": _("put back"),
    "case.escalated": _("escalated"),
    "case.commented": _("comment"),
    "decision.made": _("decided"),
    "decision.undone": _("decision undone"),
    "action.requested": _("action requested"),
    "action.sent": _("action sent"),
    "action.confirmed": _("action confirmed"),
    "action.failed": _("action failed"),
    "action.canceled": _("action canceled"),
}
FIELDS: Words = {
    "post.text": _("Text"),
    "account.handle": _("Handle"),
    "account.display_name": _("Display name"),
    "account.bio": _("Bio"),
    "account.url": _("Address"),
    "followed.handle": _("Followed: handle"),
    "followed.display_name": _("Followed: display name"),
    "followed.bio": _("Followed: bio"),
    "report.reason": _("What the report says"),
    "report.text": _("In the reporter's words"),
}


def word(words: Words, name: str) -> str:
    """The word for `name`; the name itself where there is none, so that nothing is hidden."""
    return str(words.get(name, name))
