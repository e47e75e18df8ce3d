"""Media reach a browser only here: as a small JPEG of our own making, to those who may see it."""

from __future__ import annotations

import math

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from redshank.archive.models import Blob
from redshank.core import BadInput
from redshank.people import services as people
from redshank.web import previews
from redshank.web.permissions import Asked, needs

LONGEST = 600.0
"""Seconds that one reveal counts for at most."""


@require_GET
@needs("media.view")
def preview(request: Asked, sha256: str) -> HttpResponseBase:
    """The picture, or the frame at `?at=SECOND`; `?veil=1` gives it in so few gray pixels that nothing is made out."""
    if not Blob.objects.filter(pk=sha256).exists():
        raise Http404
    try:
        second = float(request.GET["at"]) if "at" in request.GET else None
        if second is not None and not (math.isfinite(second) and 0 <= second < 1e6):
            raise Http404
        data = previews.preview(sha256, second, veiled="veil" in request.GET)
    except (ValueError, BadInput):  # a MediaError is a BadInput
        raise Http404 from None
    answer = HttpResponse(data, content_type="image/jpeg")
    answer["Cache-Control"] = "private, max-age=3600"
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Disposition"] = "inline; filename=preview.jpg"
    return answer


@require_POST
@needs("media.view")
def revealed(request: Asked) -> HttpResponseBase:
    """Somebody let go of a picture after `seconds`: counted for themselves."""
    try:
        seconds = float(request.POST.get("seconds", ""))
    except ValueError:
        seconds = 0.0
    if not math.isfinite(seconds):
        seconds = 0.0
    people.count_reveal(request.user, min(max(seconds, 0.0), LONGEST), now=timezone.now())
    return HttpResponse(status=204)
