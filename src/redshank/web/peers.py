"""Where other installations ask: signed, under a standing agreement, and written down."""

from __future__ import annotations

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from redshank.core import BadInput, Problem
from redshank.peers import services
from redshank.web.permissions import open_to

LONGEST = 64 * 1024
"""Bytes of a question at most: fifty points are a few thousand."""


@csrf_exempt
@require_POST
@open_to("anyone")
def answer(request: HttpRequest, what: str) -> HttpResponse:
    """Answer a peer: `masks` of the tokens of suspended accounts, or `ask`, blinded tokens raised to our secret.

    401 for who has no agreement or a wrong signature, 400 for what cannot be read, 429 for one question too many.
    """
    if what not in {"masks", "ask"}:
        return JsonResponse({"detail": "There are masks and ask."}, status=404)
    if int(request.META.get("CONTENT_LENGTH") or 0) > LONGEST:
        return JsonResponse({"detail": f"More than {LONGEST:,} bytes."}, status=413)
    try:
        body = request.body
        headers = {name.lower(): value for name, value in request.headers.items()}
        found = services.answer(headers, body, what, now=timezone.now())
    except (RequestDataTooBig, UnreadablePostError):
        return JsonResponse({"detail": "The question broke off."}, status=400)
    except services.UnknownPeer as refused:
        return JsonResponse({"detail": str(refused)}, status=401)
    except services.Refused as refused:
        return JsonResponse({"detail": str(refused)}, status=429)
    except BadInput as problem:
        return JsonResponse({"detail": str(problem)}, status=400)
    except Problem as problem:
        return JsonResponse({"detail": str(problem)}, status=503)
    return HttpResponse(found, content_type="application/octet-stream" if what == "masks" else "application/json")
