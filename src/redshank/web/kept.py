"""What somebody had typed when their session ended, kept until they have signed in again.

A form that must lose nothing carries a signed word that says whose it is (`token`). When it comes from somebody who is
not signed in any more, or signed in again since, its fields wait in the new session and go back to that person alone,
and to that page alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.core import signing
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from redshank.people.models import User

FIELDS = {"text": 64 * 1024, "note": 2_000, "base": 12}
"""What is kept, and how many characters of it at most."""
HOURS = 48
"""How long after the page was made; a page that is older is from another week's work."""
_SALT = "redshank.kept"
_NAME = "kept"


def token(user: User) -> str:
    """The word that a form of this person carries, as its field `whose`."""
    return signing.dumps(user.pk, salt=_SALT)


def keep(request: HttpRequest) -> str:
    """Keep what was typed, where the form says whose it is; the page to come back to, or an empty text."""
    place = request.POST.get("here", "")
    try:
        owner = signing.loads(request.POST.get("whose", ""), salt=_SALT, max_age=HOURS * 3600)
    except signing.BadSignature:
        return ""
    if not place.startswith("/") or not url_has_allowed_host_and_scheme(place, allowed_hosts=None):
        return ""
    typed = {name: request.POST.get(name, "")[:most].replace("\x00", "") for name, most in FIELDS.items()}
    request.session[_NAME] = {"owner": owner, "place": place, "typed": typed}
    return place


def take(request: HttpRequest) -> Mapping[str, str] | None:
    """What this person had typed on this page when their session ended; it is handed out once."""
    kept = request.session.get(_NAME)
    if not isinstance(kept, dict) or kept.get("place") != request.path:
        return None
    del request.session[_NAME]
    typed: Mapping[str, str] = kept["typed"]
    return typed if kept.get("owner") == request.user.pk else None
