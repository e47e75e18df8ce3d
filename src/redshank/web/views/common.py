"""What belongs to no page: the scheme, the list of keys, and the pages that say that something went wrong."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from redshank.web import kept
from redshank.web.context import SCHEMES
from redshank.web.permissions import Asked, needs

YEAR = 365 * 24 * 3600


@require_POST
@needs("cases.view")
def appearance(request: Asked) -> HttpResponse:
    """Keep the chosen scheme, and go back to where it was chosen."""
    scheme = request.POST.get("scheme", "auto")
    back = request.POST.get("next", "/")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts=None) or not back.startswith("/"):
        back = "/"
    answer = redirect(back)
    if scheme in SCHEMES:
        answer.set_cookie("scheme", scheme, max_age=YEAR, httponly=True, samesite="Lax", secure=request.is_secure())
    return answer


@require_GET
@needs("cases.view")
def keys(request: Asked) -> HttpResponseBase:
    """Every key and what it does."""
    return render(request, "console/keys.html")


def _problem(request: HttpRequest, status: int, **words: str) -> HttpResponse:
    return render(request, "console/problem.html", {"status": status, **words}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: what was sent makes no sense here."""
    return _problem(
        request, 400,
        title=_("This request makes no sense here"),
        what=_("What your browser sent is malformed or too large."),
        lost=_("Nothing was changed."),
        todo=_("Go back, load the page again, and try once more."),
    )  # fmt: skip


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: signed in, but in another role."""
    return _problem(
        request, 403,
        title=_("Your role does not open this page"),
        what=_("You are signed in, and nothing is wrong with your account; this page is for colleagues with another role."),
        lost=_("Nothing was changed, and nothing was lost."),
        todo=_("If your work needs it, an administrator of this installation can change your role."),
    )  # fmt: skip


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form whose token is not ours: a session that ended, or another site's form.

    A form that must lose nothing is loaded again instead, with what was typed in it.
    """
    if place := kept.keep(request):
        again = HttpResponse(status=204) if request.headers.get("HX-Request") else redirect(place)
        if again.status_code == 204:
            again["HX-Redirect"] = place
        return again
    return _problem(
        request, 403,
        title=_("This form is no longer valid"),
        what=_("Your session ended or was renewed since the page was loaded, or the form came from another site."),
        lost=_("Nothing was changed. What you typed is still on the page before: go back to copy it."),
        todo=_("Load that page again, sign in if you are asked to, and send the form once more."),
    )  # fmt: skip


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: there is nothing at this address."""
    said = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    return _problem(
        request, 404,
        title=_("There is nothing here"),
        what=said or _("No page has this address, or what it showed is no longer kept."),
        lost=_("Nothing was changed, and nothing was lost."),
        todo=_("Check the address, or look for the case or account by its id."),
    )  # fmt: skip


def too_many(request: HttpRequest) -> HttpResponse:
    """429: too many tries to sign in, from here or for one name."""
    return _problem(
        request,
        429,
        title=_("Too many tries"),
        what=_(
            "Somebody tried to sign in too often from this address or with this name, so the door is shut for a while."
        ),
        lost=_("Nothing was changed, and no password was given away."),
        todo=_("Wait five minutes. Whoever lost a password asks an administrator of this installation for a new one."),
    )


def broken(request: HttpRequest) -> HttpResponse:
    """500: our mistake. Asks nothing of the store, which may be what failed."""
    words = {
        "status": 500,
        "title": _("Something broke on our side"),
        "what": _("The page could not be made. The error was written to the log with its time."),
        "lost": _("A step that was under way was taken back whole: it is done or not done, never by half."),
        "todo": _("Try once more. If it stays, tell whoever runs this installation the time and the address."),
    }
    return HttpResponse(render_to_string("console/problem.html", words), status=500)
