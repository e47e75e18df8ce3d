"""Who may open which page: each view names one permission of `people/roles.py`, or says why it needs none.

The name stays on the function, so that a test can walk every route and refuse one that forgot it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django_htmx.middleware import HtmxDetails

from redshank.people.models import User
from redshank.people.roles import PERMISSIONS
from redshank.web import kept

P = ParamSpec("P")


class Asked(HttpRequest):
    """A request as our views get it: with the person who signed in, and what htmx says of it."""

    user: User
    htmx: HtmxDetails


View = Callable[Concatenate[Asked, P], HttpResponseBase]


def needs(
    permission: str, *, keeps: bool = False
) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]]:
    """Only those whose role has `permission` see this view; a stranger is sent to sign in, all others to a 403 page.

    Where it `keeps`, what somebody sends whose session has ended waits until they have signed in again (`kept.py`). Raises KeyError, at import, where no such permission exists.
    """
    PERMISSIONS[permission]

    def mark(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @functools.wraps(view)
        def run(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not isinstance(request.user, User):
                return _sign_in(request, kept.keep(request) if keeps and request.method == "POST" else "")
            if not request.user.may(permission):
                raise PermissionDenied(permission)
            return view(cast("Asked", request), *args, **kwargs)

        run.permission = permission  # type: ignore[attr-defined]  # read by the walk over all routes
        return cast("Callable[Concatenate[HttpRequest, P], HttpResponseBase]", run)

    return mark


def open_to(whom: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """A view that asks for no permission: `anyone`, or whoever is `signed in`."""
    if whom not in ("anyone", "signed in"):
        raise ValueError(whom)

    def mark(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(view)
        def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if whom == "signed in" and not request.user.is_authenticated:
                return _sign_in(request)
            return view(request, *args, **kwargs)

        run.open_to = whom  # type: ignore[attr-defined]  # read by the walk over all routes
        return run

    return mark


def _sign_in(request: HttpRequest, place: str = "") -> HttpResponse:
    answer = redirect_to_login(place or (request.get_full_path() if request.method == "GET" else "/"))
    if request.headers.get("HX-Request"):  # A fragment's place is no place for the sign-in page.
        whole = HttpResponse(status=204)
        whole["HX-Redirect"] = redirect_to_login(place or "/").url
        return whole
    return answer
